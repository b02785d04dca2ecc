"""The gateway as a process of its own: starts from settings, keeps quiet about what it is, stops in order."""

from __future__ import annotations

import gzip
import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.settings import Settings, child_environment

# Taking the interpreter apart can abort: it must not be begun.
PROGRAM = (
    "import atexit, os; atexit.register(os.abort); "
    "from divisi.gateway import app; from divisi.settings import load_settings; "
    "from divisi.telemetry import configure_logging; {before}"
    "configure_logging('info', 'json', process='gateway'); app.run_gateway(load_settings())"
)
# With asyncio's own event loop, whose way of looking names up can be replaced.
NAMES_ARE_NEVER_FOUND = (
    "import socket, sys, time; sys.modules['uvloop'] = None; socket.getaddrinfo = lambda *_, **__: time.sleep(3600); "
    "from divisi.queue import redis_door; redis_door._CONNECT_SECONDS = 0.1; "
)
TOLD_TO_STOP_BEFORE_IT_SERVES = (
    "import signal; app.configure_tracing = lambda *_: os.kill(os.getpid(), signal.SIGTERM); "
)


@dataclass(frozen=True)
class Running:
    http: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def start(redis_url: str, model_store: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    port = free_port()
    started = []

    def start(before: str = "", **changes: object) -> Running:
        values = {
            "redis_url": redis_url,
            "store_url": f"file://{tmp_path / 'store'}",
            "model_store": model_store,
            "default_model": "quartet",
            "port": port,
        }
        log = tmp_path / "log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(before=before)],
                env=child_environment(Settings(**{**values, **changes})),
                stderr=stderr,
            )
        started.append(Running(httpx.Client(base_url=f"http://127.0.0.1:{port}"), process, log))
        return started[-1]

    yield start
    for gateway in started:
        gateway.process.kill()
        gateway.process.wait()
        gateway.http.close()


@pytest.fixture
def running(start: Callable[..., Running]) -> Running:
    return when(start(), "/readyz")


def when(gateway: Running, path: str) -> Running:
    """The gateway as soon as it answers a probe with 200."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert gateway.process.poll() is None
        assert time.monotonic() < deadline
        try:
            if gateway.http.get(path).status_code == 200:
                return gateway
        except httpx.TransportError:
            pass
        time.sleep(0.05)


def test_a_stop_ends_open_streams_and_is_no_crash(running: Running, song: bytes) -> None:
    url = running.http.post("/v1/jobs", files={"file": song}).headers["location"]
    with running.http.stream("GET", f"{url}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": divisi"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_SECONDS) == 0


def test_what_a_killed_gateway_left_of_uploads_is_removed_by_the_next(
    start: Callable[..., Running], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    killed = when(start(work_dir=work), "/livez")
    with socket.create_connection(("127.0.0.1", killed.http.base_url.port)) as wire:
        head = "POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: audio/wav\r\nContent-Length: 4000000\r\n\r\n"
        wire.sendall(head.encode() + bytes(3_000_000))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(path.is_file() and path.stat().st_size for path in work.rglob("*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        killed.process.kill()
        killed.process.wait()
    when(start(work_dir=work), "/livez")
    assert not any(path.is_file() and path.stat().st_size for path in work.rglob("*"))


def test_a_gateway_that_looks_for_its_redis_in_vain_stops_all_the_same(start: Callable[..., Running]) -> None:
    gateway = when(start(NAMES_ARE_NEVER_FOUND, redis_url="redis://redis.away:6379/0"), "/livez")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(PATIENCE_SECONDS) == 0


def test_a_stop_that_comes_before_it_serves_is_heeded(start: Callable[..., Running]) -> None:
    assert start(TOLD_TO_STOP_BEFORE_IT_SERVES).process.wait(PATIENCE_SECONDS) == 0


def test_a_stop_sends_the_last_spans(start: Callable[..., Running]) -> None:
    collected: queue.Queue[bytes] = queue.Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collected.put(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        gateway = when(start(otel_endpoint=f"http://127.0.0.1:{server.server_port}"), "/readyz")
        gateway.http.get("/v1/models").raise_for_status()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(PATIENCE_SECONDS) == 0
        server.shutdown()
    assert any(b"/v1/models" in spans for spans in collected.queue)


def test_answers_do_not_tell_what_serves_them(running: Running) -> None:
    assert "server" not in running.http.get("/livez").headers


def test_addresses_from_proxies_are_not_believed_and_each_request_is_one_line_of_json(running: Running) -> None:
    running.http.get("/livez", headers={"X-Request-ID": "one", "X-Forwarded-For": "203.0.113.9"})
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(PATIENCE_SECONDS)
    text = running.log.read_text()
    assert "203.0.113.9" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    ours = [line for line in lines if line.get("request_id") == "one"]
    assert [(line["event"], line["path"], line["status"]) for line in ours] == [("request", "/livez", 200)]
