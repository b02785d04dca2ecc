"""Starts TorchServe for divisi, keeps its key fresh, and ends it: what a container or a test runs.

TorchServe's own launcher leaves its Java process behind when it is killed, and nobody renews the keys, which expire.
Here one process holds Java, passes signals on, and asks for a new inference key at half the life of the old one.
Callers get that key, and that key alone, in a file of their own; TorchServe's `key_file.json`, which also opens the
management API, stays in the work folder.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("start")

_HERE = Path(__file__).resolve().parent
_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs until TorchServe ends or SIGTERM comes; gives its exit code."""
    options = _read_options()
    work = options.work.resolve()
    (work / "tmp").mkdir(parents=True, exist_ok=True)
    (work / "key_file.json").unlink(missing_ok=True)
    options.key_file.unlink(missing_ok=True)
    config = work / "config.properties"
    config.write_text((_HERE / "config.properties").read_text(encoding="utf-8") + _addresses(options), encoding="utf-8")
    java = subprocess.Popen(
        _command(config, options.models.resolve(), work), cwd=work, env=_environment(work), preexec_fn=_die_with_parent
    )
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: java.terminate())
    keys = _Keys(work / "key_file.json", options.key_file, options.management)
    while java.poll() is None:
        keys.keep_fresh()
        time.sleep(_POLL_SECONDS)
    options.key_file.unlink(missing_ok=True)
    # 143 is Java's word for SIGTERM: what was asked for.
    return 0 if java.returncode in (143, -signal.SIGTERM) else java.returncode


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of .mar archives; all are served")
    parser.add_argument("--work", type=Path, required=True, help="folder for keys, logs and sockets; one per server")
    parser.add_argument("--key-file", type=Path, required=True, help="where callers find the inference key")
    parser.add_argument("--inference", default="http://127.0.0.1:8080", help="address that callers reach")
    parser.add_argument("--management", default="http://127.0.0.1:8081", help="keep it on loopback")
    parser.add_argument("--metrics", default="http://127.0.0.1:8082", help="keep it on loopback")
    parser.add_argument("--grpc-ports", default="7070,7071", help="bound on loopback; nothing of divisi uses them")
    return parser.parse_args()


def _addresses(options: argparse.Namespace) -> str:
    inference_port, management_port = options.grpc_ports.split(",")
    lines = {
        "inference_address": options.inference,
        "management_address": options.management,
        "metrics_address": options.metrics,
        "grpc_inference_address": "127.0.0.1",
        "grpc_management_address": "127.0.0.1",
        "grpc_inference_port": inference_port,
        "grpc_management_port": management_port,
    }
    return "\n" + "".join(f"{name}={value}\n" for name, value in lines.items())


def _command(config: Path, models: Path, work: Path) -> list[str]:
    """What TorchServe's launcher would run."""
    package = importlib.util.find_spec("ts")
    if package is None or package.origin is None:
        sys.exit("torchserve is not installed here: pip install -r requirements.txt")
    java_home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{java_home}/bin/java" if java_home else "java")
    if java is None:
        sys.exit("Java 17 is not installed here (Debian: openjdk-17-jre-headless)")
    home = Path(package.origin).parent
    properties = dict(
        line.split("=", 1) for line in config.read_text(encoding="utf-8").splitlines() if "=" in line and line[0] != "#"
    )
    return [
        java,
        f"-Dmodel_server_home={home.parent}",
        f"-Djava.io.tmpdir={work / 'tmp'}",
        *properties["vmargs"].split(),
        *("-cp", str(home / "frontend" / "*"), "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(config), "-s", str(models), "-ncs"),
    ]


def _environment(work: Path) -> dict[str, str]:
    # Model workers make their sockets in the temporary folder, and import what lies beside their handler.
    return {**os.environ, "TMPDIR": str(work / "tmp"), "LOG_LOCATION": str(work), "METRICS_LOCATION": str(work)}


def _die_with_parent() -> None:
    """Runs in the new process: the kernel ends it when this one dies, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Keys:
    """Keeps the inference key of a running TorchServe valid, and what callers read in step with it."""

    def __init__(self, source: Path, published: Path, management: str) -> None:
        self._source = source
        self._published = published
        self._management = management
        self._renew_at = 0.0
        self._current: str | None = None

    def keep_fresh(self) -> None:
        """To be called often; renews when it is time, and publishes what is new."""
        if self._current is not None and time.time() >= self._renew_at:
            self._renew()
        keys = self._read()
        if keys is None or keys["inference"]["key"] == self._current:
            return
        self._publish(keys["inference"])
        self._current = keys["inference"]["key"]
        expires = datetime.fromisoformat(keys["inference"]["expiration time"].replace("Z", "+00:00"))
        self._renew_at = time.time() + (expires - datetime.now(UTC)).total_seconds() / 2

    def _read(self) -> dict[str, dict[str, str]] | None:
        """None while TorchServe starts or writes."""
        try:
            return json.loads(self._source.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _renew(self) -> None:
        keys = self._read()
        if keys is None:
            return
        request = urllib.request.Request(
            f"{self._management}/token?type=inference", headers={"Authorization": f"Bearer {keys['API']['key']}"}
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except (urllib.error.URLError, OSError) as error:
            log.warning("the inference key could not be renewed: %s", error)

    def _publish(self, key: dict[str, str]) -> None:
        """Whole or not at all: callers read at any time."""
        descriptor, name = tempfile.mkstemp(dir=self._published.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"inference": key}, file)
        os.chmod(name, 0o640)
        os.replace(name, self._published)


if __name__ == "__main__":
    sys.exit(main())
