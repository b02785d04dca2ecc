"""The gateway as a process of its own: starts from settings, keeps quiet about what it is, stops in order."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from divisi.settings import Settings, child_environment

START_SECONDS = 60
STOP_SECONDS = 10
# Taking the interpreter apart can abort: it must not be begun.
PROGRAM = (
    "import atexit, os; atexit.register(os.abort); "
    "from divisi.gateway.app import run_gateway; from divisi.settings import load_settings; "
    "from divisi.telemetry import configure_logging; "
    "configure_logging('info', 'json', process='gateway'); run_gateway(load_settings())"
)


@dataclass(frozen=True)
class Running:
    http: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def running(redis_url: str, model_store: Path, tmp_path: Path) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    settings = Settings(
        redis_url=redis_url,
        store_url=f"file://{tmp_path / 'store'}",
        model_store=model_store,
        default_model="quartet",
        port=port,
    )
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen([sys.executable, "-c", PROGRAM], env=child_environment(settings), stderr=stderr) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                if http.get("/readyz").status_code == 200:
                    break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield Running(http, process, log)
        process.kill()


def test_a_stop_ends_open_streams_and_is_no_crash(running: Running, song: bytes) -> None:
    url = running.http.post("/v1/jobs", files={"file": song}).headers["location"]
    with running.http.stream("GET", f"{url}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": divisi"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(STOP_SECONDS) == 0


def test_answers_do_not_tell_what_serves_them(running: Running) -> None:
    assert "server" not in running.http.get("/livez").headers


def test_addresses_from_proxies_are_not_believed_and_each_request_is_one_line_of_json(running: Running) -> None:
    running.http.get("/livez", headers={"X-Request-ID": "one", "X-Forwarded-For": "203.0.113.9"})
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(STOP_SECONDS)
    text = running.log.read_text()
    assert "203.0.113.9" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    ours = [line for line in lines if line.get("request_id") == "one"]
    assert [(line["event"], line["path"], line["status"]) for line in ours] == [("request", "/livez", 200)]
