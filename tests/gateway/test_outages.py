"""Redis or the object store is away: 503 with Retry-After, soon, and nothing accepted that could be lost."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.conftest import free_port

from divisi.gateway.app import create_app
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import S3Access, open_object_store

if TYPE_CHECKING:
    from tests.conftest import StartRedis
    from tests.gateway.conftest import Serve

# In place of the seconds that the gateway waits for Redis, while it hangs.
SHORTLY = 0.2


@dataclass
class Frail:
    """A gateway whose Redis the test may kill, freeze and start again."""

    http: httpx.Client
    folder: Path
    start_redis: StartRedis
    port: int

    def start(self) -> subprocess.Popen[str]:
        return self.start_redis(self.port)

    def stored(self) -> list[Path]:
        return [path for path in (self.folder / "store").rglob("*") if path.is_file()]


def assert_is_away(answer: httpx.Response, code: str) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


@pytest.fixture
def frail(tmp_path: Path, model_store: Path, serve: Serve, start_redis: StartRedis) -> Iterator[Frail]:
    port = free_port()
    settings = Settings(redis_url=f"redis://127.0.0.1:{port}/0", model_store=model_store, default_model="quartet")
    store = open_object_store(f"file://{tmp_path / 'store'}")
    app = create_app(settings, RedisDoor(settings.redis_url), store, BundleStore(model_store))
    with serve(app) as served, httpx.Client(base_url=served.url) as http:
        yield Frail(http, tmp_path, start_redis, port)


def requests_of(frail: Frail, song: bytes) -> Iterator[httpx.Response]:
    job = "/v1/jobs/01m82509an0z2za7kt3a89vjd6"
    for method, path in (
        ("GET", "/v1/jobs"),
        ("GET", job),
        ("GET", f"{job}/events"),
        ("GET", f"{job}/stems/alto"),
        ("POST", f"{job}/cancel"),
        ("DELETE", job),
    ):
        yield frail.http.request(method, path)
    for headers in ({}, {"Idempotency-Key": "k"}):
        yield frail.http.post("/v1/jobs", files={"file": song}, headers=headers)


def test_without_redis_the_gateway_is_alive_and_says_503(frail: Frail, song: bytes) -> None:
    for answer in requests_of(frail, song):
        assert_is_away(answer, "redis-unavailable")
    assert frail.stored() == []
    assert frail.http.get("/livez").status_code == 200
    assert frail.http.get("/v1/models").status_code == 200
    assert "divisi_queue_up 0.0" in frail.http.get("/metrics").text
    ready = frail.http.get("/readyz")
    assert_is_away(ready, "not-ready")
    checks = ready.json()["facts"]["checks"]
    assert {name: check["is_ready"] for name, check in checks.items()} == {
        "redis": False,
        "store": True,
        "models": True,
    }


def test_a_redis_that_hangs_is_as_good_as_away_before_its_own_connections_give_up(
    frail: Frail, song: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = frail.start()
    assert frail.http.get("/readyz").status_code == 200
    server.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("divisi.timing.ANSWER_SECONDS", SHORTLY)
    try:
        for answer in requests_of(frail, song):
            assert_is_away(answer, "redis-unavailable")
            assert answer.json()["detail"] == f"Redis does not answer as it should: no answer within {SHORTLY:g} s"
        assert frail.http.get("/livez").status_code == 200
    finally:
        server.send_signal(signal.SIGCONT)
    assert frail.stored() == []


def test_the_gateway_recovers_by_itself_when_redis_is_back(frail: Frail, song: bytes) -> None:
    server = frail.start()
    assert frail.http.post("/v1/jobs", files={"file": song}).status_code == 202
    server.kill()
    server.wait()
    assert_is_away(frail.http.get("/v1/jobs"), "redis-unavailable")
    frail.start()
    answer = frail.http.post("/v1/jobs", files={"file": song})
    assert answer.status_code == 202
    assert frail.http.get(answer.headers["location"]).json()["state"] == "queued"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize("is_silent", [False, True], ids=["refusing", "silent"])
def test_without_the_store_no_job_is_accepted(
    is_silent: bool,
    redis_url: str,
    model_store: Path,
    serve: Serve,
    song: bytes,
    silent_port: int,
) -> None:
    port = silent_port if is_silent else 1
    settings = Settings(redis_url=redis_url, model_store=model_store, default_model="quartet")
    store = open_object_store(
        "s3://recordings", S3Access(endpoint=f"http://127.0.0.1:{port}", access_key_id="k", secret_access_key="s")
    )
    app = create_app(settings, RedisDoor(redis_url), store, BundleStore(model_store))
    with serve(app) as served, httpx.Client(base_url=served.url) as http:
        answer = http.post("/v1/jobs", files={"file": song})
        assert_is_away(answer, "store-unavailable")
        assert http.get("/v1/jobs").json()["jobs"] == []
        checks = http.get("/readyz").json()["facts"]["checks"]
        assert [name for name, check in checks.items() if not check["is_ready"]] == ["store"]


def test_an_empty_model_store_is_not_ready(redis_url: str, tmp_path: Path, serve: Serve) -> None:
    settings = Settings(redis_url=redis_url, model_store=tmp_path)
    store = open_object_store("memory://")
    with (
        serve(create_app(settings, RedisDoor(redis_url), store, BundleStore(tmp_path))) as served,
        httpx.Client(base_url=served.url) as http,
    ):
        ready = http.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["detail"] == "not ready: models"


def test_a_full_queue_is_refused_before_the_upload_is_read(
    redis_url: str, model_store: Path, serve: Serve, song: bytes, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_url, model_store=model_store, default_model="quartet")
    door = RedisDoor(redis_url, QueueOptions(max_queued_jobs=2))
    store = open_object_store(f"file://{tmp_path / 'store'}")
    with (
        serve(create_app(settings, door, store, BundleStore(model_store))) as served,
        httpx.Client(base_url=served.url) as http,
    ):
        assert http.post("/v1/jobs", files={"file": song}).status_code == 202
        # Two more do not fit together: all or none.
        both = http.post("/v1/jobs", files={"file": song}, data={"model": ["duo", "quartet"]})
        assert_is_away(both, "queue-full")
        assert len(asyncio.run(store.list("jobs"))) == 2
        assert http.post("/v1/jobs", files={"file": song}).status_code == 202
        assert_is_away(http.post("/v1/jobs", content=b"never looked at"), "queue-full")
