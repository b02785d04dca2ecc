"""The start script renews a key when half its life is over, and publishes whole files only."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.models.running_torch_serve import START


def load_start() -> ModuleType:
    spec = spec_from_file_location("start", START)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_keys(path: Path, key: str, minutes: float) -> None:
    expires = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat().replace("+00:00", "123Z")
    keys = {"management": {"key": "m"}, "inference": {"key": key, "expiration time": expires}, "API": {"key": "api"}}
    path.write_text(json.dumps(keys))


class Management(HTTPServer):
    """Gives out `second`, good for an hour, and notes who asked."""

    def __init__(self, key_file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.key_file = key_file
        self.asked: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Management

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("authorization")))
        write_keys(self.server.key_file, "second", minutes=60)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing to say."""


@pytest.fixture
def management(tmp_path: Path) -> Iterator[Management]:
    with Management(tmp_path / "key_file.json") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_key_is_renewed_when_half_its_life_is_over(
    management: Management, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, published = load_start(), tmp_path / "inference_key.json"
    keys = start._Keys(management.key_file, published, f"http://127.0.0.1:{management.server_port}")
    keys.keep_fresh()
    assert not published.exists()
    write_keys(management.key_file, "first", minutes=60)
    keys.keep_fresh()
    keys.keep_fresh()
    assert json.loads(published.read_text())["inference"]["key"] == "first"
    now = start.time.time()
    monkeypatch.setattr(start.time, "time", lambda: now + 29 * 60)
    keys.keep_fresh()
    assert management.asked == []
    monkeypatch.setattr(start.time, "time", lambda: now + 31 * 60)
    keys.keep_fresh()
    assert management.asked == [("/token?type=inference", "Bearer api")]
    assert json.loads(published.read_text())["inference"]["key"] == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inference_key.json", "key_file.json"]


def test_a_management_api_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, published = load_start(), tmp_path / "inference_key.json"
    keys = start._Keys(tmp_path / "key_file.json", published, "http://127.0.0.1:9")
    write_keys(tmp_path / "key_file.json", "first", minutes=-1)
    keys.keep_fresh()
    keys.keep_fresh()
    assert json.loads(published.read_text())["inference"]["key"] == "first"
