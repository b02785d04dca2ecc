"""What a model server's refusals lead to: what passes is tried again, what would come again is an error at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.contract.errors import ModelError, UnavailableError
from divisi.models.engine import ModelServerOptions
from divisi.models.torch_serve import ModelServer

DIED = (507, {"code": 507, "type": "InternalServerException", "message": "Worker died."})
KEY_REFUSED = (400, {"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."})
FULL = (503, {"code": 503, "type": "ServiceUnavailableException", "message": "The queue is full."})
DONE = (200, "done")

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Scripted(HTTPServer):
    """Answers in the order of `answers`, then with the last one for ever; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [DONE]
        self.keys: list[str | None] = []
        self.answered = threading.Event()
        self.delay: threading.Event | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("authorization"))
        if self.server.delay is not None:
            self.server.delay.wait(PATIENCE_SECONDS)
        answers = self.server.answers
        status, content, *headers = answers.pop(0) if len(answers) > 1 else answers[0]
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers[0] if headers else {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing to say."""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        if server.delay is not None:
            server.delay.set()
        server.shutdown()
        thread.join()


Connect = Callable[..., tuple[ModelServer, list[float]]]


@pytest.fixture
def connect(scripted: Scripted) -> Iterator[Connect]:
    """A connection to the scripted server that does not really wait, and the pauses that it would have made."""
    opened = []

    def to(**options: Any) -> tuple[ModelServer, list[float]]:
        pauses: list[float] = []
        plain: dict[str, Any] = {"url": f"http://127.0.0.1:{scripted.server_port}"}
        server = ModelServer(ModelServerOptions(**(plain | options)), sleep=pauses.append)
        opened.append(server)
        return server, pauses

    yield to
    for server in opened:
        server.close()


@pytest.mark.parametrize(
    "passing",
    [
        pytest.param(FULL, id="full"),
        pytest.param(DIED, id="a worker died"),
        pytest.param((502, "bad gateway"), id="a proxy finds no server"),
        pytest.param((429, "slow down"), id="too many requests"),
        pytest.param(KEY_REFUSED, id="the key expired"),
        pytest.param((401, "who are you"), id="a proxy refuses the key"),
    ],
)
def test_what_passes_is_tried_again_after_growing_pauses(scripted: Scripted, connect: Connect, passing: Answer) -> None:
    scripted.answers = [passing, passing, DONE]
    server, pauses = connect()
    assert server.predict("tiny-duo", "1.0.0", b"body").text == "done"
    assert len(pauses) == 2
    assert 0 < pauses[0] < pauses[1]


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((404, {"message": "Model not found: tiny-duo"}), "missing-model", "does not serve tiny-duo 1.0.0: Model not"),
        ((422, "mixture is float64", {"X-Divisi-Error": "input"}), "wrong-input", "refuses the segments: mixture is"),
        ((500, "no memory", {"X-Divisi-Error": "graph"}), "engine-failed", "the graph failed in TorchServe: no memory"),
        ((413, ""), "engine-failed", "request of 4 bytes is beyond TorchServe's max_request_size"),
        ((405, {"message": "not so"}), "engine-failed", "answered 405: not so"),
    ],
)
def test_what_would_come_again_is_an_error_at_once(
    scripted: Scripted, connect: Connect, answer: Answer, code: str, message: str
) -> None:
    scripted.answers = [answer]
    server, pauses = connect()
    with pytest.raises(ModelError, match=message) as refused:
        server.predict("tiny-duo", "1.0.0", b"body")
    assert refused.value.code == code
    assert pauses == []


def test_a_request_that_kills_worker_after_worker_is_given_up(scripted: Scripted, connect: Connect) -> None:
    scripted.answers = [DIED]
    server, pauses = connect()
    with pytest.raises(ModelError, match="3 workers of TorchServe died of one batch") as refused:
        server.predict("tiny-duo", "1.0.0", b"body")
    assert refused.value.code == "engine-failed"
    assert len(pauses) == 2


def test_a_server_that_stays_away_is_unavailable_after_its_time(connect: Connect) -> None:
    server, pauses = connect(url=f"http://127.0.0.1:{free_port()}", patience_seconds=0.02)
    with pytest.raises(UnavailableError, match="Connection refused") as away:
        server.predict("tiny-duo", "1.0.0", b"body")
    assert away.value.code == "model-server-away"
    assert pauses == []


def test_patience_has_an_end(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.answers = [FULL]
    now = [0.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("divisi.models.torch_serve.time", SimpleNamespace(monotonic=lambda: now[0]))
    options = ModelServerOptions(f"http://127.0.0.1:{scripted.server_port}", patience_seconds=20.0)
    with pytest.raises(UnavailableError, match=r"cannot be used: The queue is full\."):
        ModelServer(options, sleep=pass_time).predict("tiny-duo", "1.0.0", b"body")
    assert 10 <= now[0] <= 20
    assert len(scripted.keys) >= 2


def test_an_answer_that_does_not_come_in_time_is_not_asked_for_again(scripted: Scripted, connect: Connect) -> None:
    scripted.delay = threading.Event()
    server, _ = connect(timeout_seconds=0.05)
    with pytest.raises(UnavailableError, match=r"no answer in 0\.05 s"):
        server.predict("tiny-duo", "1.0.0", b"body")
    scripted.delay.set()
    patient, _ = connect()
    patient.predict("tiny-duo", "1.0.0", b"body")  # answered after whatever was asked before
    assert len(scripted.keys) == 2


def test_a_refused_key_is_read_again_and_only_then(scripted: Scripted, connect: Connect, tmp_path: Path) -> None:
    key_file = tmp_path / "keys.json"

    def write(key: str) -> None:
        key_file.write_text(json.dumps({"inference": {"key": key}}))

    write("first")
    server, _ = connect(key_file=key_file)
    server.predict("tiny-duo", "1.0.0", b"body")
    write("second")
    server.predict("tiny-duo", "1.0.0", b"body")
    scripted.answers = [KEY_REFUSED, DONE]
    server.predict("tiny-duo", "1.0.0", b"body")
    assert scripted.keys == ["Bearer first", "Bearer first", "Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"inference": "key"}'])
def test_a_key_file_that_is_not_there_yet_is_waited_for(
    scripted: Scripted, connect: Connect, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    scripted.answers = [KEY_REFUSED]
    server, _ = connect(key_file=tmp_path / "keys.json", patience_seconds=0.02)
    with pytest.raises(UnavailableError, match=r"refuses the key of .*keys\.json"):
        server.predict("tiny-duo", "1.0.0", b"body")
    assert set(scripted.keys) == {None}


def test_a_server_is_healthy_when_all_its_workers_are(scripted: Scripted, connect: Connect) -> None:
    scripted.answers = [
        (500, {"status": "Unhealthy"}),
        (200, {"status": "Partial Healthy"}),
        (200, {"status": "Healthy"}),
    ]
    server, pauses = connect()
    server.wait_until_healthy()
    assert len(pauses) == 2
