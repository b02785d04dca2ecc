"""A gateway that can accept nothing says so, says why, and is ready again by itself: real servers in each state."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import redis
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.gateway.app import create_app
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings
from divisi.storage import store_health
from divisi.storage.object_store import ObjectStore, S3Access, open_object_store

if TYPE_CHECKING:
    from tests.conftest import StartRedis
    from tests.gateway.conftest import Gateway, Serve


@pytest.fixture
def lone(start_redis: StartRedis) -> Iterator[redis.Redis]:
    """A Redis that nobody else uses."""
    port = free_port()
    start_redis(port)
    with redis.Redis(port=port, decode_responses=True) as client:
        yield client


def url_of(client: redis.Redis, user: str = "") -> str:
    return f"redis://{user}127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


@pytest.fixture
def open_gateway(settings: Settings, serve: Serve) -> Iterator[Callable[..., httpx.Client]]:
    """Starts a gateway on a Redis and a store."""
    with ExitStack() as opened:

        def start(redis_url: str = settings.redis_url, store: ObjectStore | None = None) -> httpx.Client:
            changed = settings.model_copy(update={"redis_url": redis_url})
            store = store or open_object_store(changed.store_url)
            app = create_app(changed, RedisDoor(redis_url), store, BundleStore(changed.model_store))
            served = opened.enter_context(serve(app))
            return opened.enter_context(httpx.Client(base_url=served.url, timeout=PATIENCE_SECONDS))

        yield start


def why_not(http: httpx.Client, check: str) -> str:
    """What the one check that is not ready says."""
    answer = http.get("/readyz")
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["detail"] == f"not ready: {check}"
    return str(answer.json()["facts"]["checks"][check]["detail"])


def until(is_true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_ready(http: httpx.Client) -> bool:
    return http.get("/readyz").status_code == 200


def failed_save(client: redis.Redis, folder: Path) -> None:
    """What a full disk does to a Redis that writes snapshots."""
    (folder / "dump.rdb").mkdir()
    client.config_set("save", "3600 1000000")
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def saved_again(client: redis.Redis, folder: Path) -> None:
    (folder / "dump.rdb").rmdir()
    client.bgsave()
    until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")


# What is done to Redis, how it is undone, and what the reason names.
STATES: dict[str, tuple[Callable[[redis.Redis, Path], Any], Callable[[redis.Redis, Path], Any], str]] = {
    "replica": (lambda r, _: r.replicaof("127.0.0.1", 1), lambda r, _: r.replicaof("NO", "ONE"), "replica"),
    "full": (lambda r, _: r.config_set("maxmemory", 1), lambda r, _: r.config_set("maxmemory", 0), "maxmemory"),
    "not saved": (failed_save, saved_again, "snapshot"),
    "too few replicas": (
        lambda r, _: r.config_set("min-replicas-to-write", 1),
        lambda r, _: r.config_set("min-replicas-to-write", 0),
        "replicas",
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_a_redis_that_refuses_writes_is_not_ready_until_it_takes_them(
    state: str, lone: redis.Redis, open_gateway: Callable[..., httpx.Client], song: bytes, tmp_path: Path
) -> None:
    break_it, mend_it, reason = STATES[state]
    http = open_gateway(url_of(lone))
    assert is_ready(http)
    break_it(lone, tmp_path)
    assert http.post("/v1/jobs", content=b"never looked at").status_code == 503
    assert reason in why_not(http, "redis").lower()
    mend_it(lone, tmp_path)
    assert is_ready(http)
    assert http.post("/v1/jobs", files={"file": song}).status_code == 202


@pytest.mark.parametrize(
    "rights",
    ["+@read +ping +eval +evalsha +script ~*", "+@all ~others:*", "+@all -xadd ~*"],
    ids=["reader", "other keys", "one command short"],
)
def test_a_user_who_may_not_write_is_not_ready_until_it_may(
    rights: str, lone: redis.Redis, open_gateway: Callable[..., httpx.Client]
) -> None:
    def set_user(rights: str) -> None:
        lone.execute_command("ACL", "SETUSER", "divisi", "reset", "on", ">secret", *rights.split())

    set_user(rights)
    http = open_gateway(url_of(lone, "divisi:secret@"))
    assert why_not(http, "redis")
    set_user("+@all ~*")
    assert is_ready(http)


def test_a_wrong_password_is_not_ready_until_it_is_the_right_one(
    lone: redis.Redis, open_gateway: Callable[..., httpx.Client]
) -> None:
    lone.config_set("requirepass", "the old one")
    http = open_gateway(url_of(lone, f":{quote('the new one')}@"))
    assert "password" in why_not(http, "redis")
    lone.config_set("requirepass", "the new one")
    assert is_ready(http)


def test_a_redis_that_still_loads_is_not_ready(open_gateway: Callable[..., httpx.Client]) -> None:
    class Loading(StreamRequestHandler):
        """Says what Redis says to everything until its data are read."""

        def handle(self) -> None:
            while count := self.rfile.readline():
                for _ in range(2 * int(count[1:])):
                    self.rfile.readline()
                self.wfile.write(b"-LOADING Redis is loading the dataset in memory\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Loading) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        http = open_gateway(f"redis://127.0.0.1:{server.server_address[1]}/0")
        assert "loading" in why_not(http, "redis").lower()
        server.shutdown()


def test_being_asked_changes_nothing_in_redis(gateway: Gateway, http: httpx.Client, redis_url: str) -> None:
    assert is_ready(http)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = sorted(client.scan_iter())
        changes = client.info("persistence")["rdb_changes_since_last_save"]
        for _ in range(20):
            assert is_ready(http)
        assert client.info("persistence")["rdb_changes_since_last_save"] == changes
        assert sorted(client.scan_iter()) == keys
    assert gateway.objects() == []
    assert gateway.uploads() == []


# /proc takes no files, not even from root.
@pytest.mark.parametrize(
    ("folder", "reason"),
    [("store/jobs", "object store's folder"), ("store", "object store's folder"), ("work", "folder for uploads")],
)
def test_a_folder_that_takes_no_files_is_not_ready_until_it_does(
    folder: str, reason: str, gateway: Gateway, http: httpx.Client, song: bytes
) -> None:
    place = gateway.folder / folder
    if folder == "work":
        http.get("/livez")  # the gateway makes its folder when it starts
        place = next(place.glob("divisi-gateway-*"))
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to("/proc")
    assert reason in why_not(http, "store")
    assert http.post("/v1/jobs", files={"file": song}).status_code == 503
    place.unlink()
    place.mkdir()
    assert is_ready(http)
    assert http.post("/v1/jobs", files={"file": song}).status_code == 202


@pytest.mark.parametrize("folder", ["store", "work"])
def test_a_disk_without_room_for_a_recording_is_not_ready(
    folder: str, gateway: Gateway, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage(path: Path) -> SimpleNamespace:
        is_full = path.is_relative_to(gateway.folder / folder)
        return SimpleNamespace(free=store_health.LEAST_FREE_BYTES - is_full)

    assert is_ready(http)
    monkeypatch.setattr(store_health.shutil, "disk_usage", usage)
    assert os.strerror(errno.ENOSPC) in why_not(http, "store")


class Bucket(ThreadingHTTPServer):
    """Answers as S3 does to whoever may do what `status` allows; counts what it is asked to store."""

    daemon_threads = True
    status, code, puts = 200, "", 0
    knows_no_conditions = False

    def __init__(self) -> None:
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                bucket.puts += 1
                if bucket.knows_no_conditions and self.headers["If-None-Match"]:
                    self.answer(501, "NotImplemented")
                    return
                self.answer(bucket.status, bucket.code)

            def do_HEAD(self) -> None:
                self.answer(404, "NoSuchKey")

            def answer(self, status: int, code: str) -> None:
                body = f"<Error><Code>{code}</Code></Error>".encode() if code and self.command != "HEAD" else b""
                self.send_response(status)
                self.send_header("ETag", '"0"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)

    def open(self) -> ObjectStore:
        endpoint = f"http://127.0.0.1:{self.server_port}"
        return open_object_store(
            "s3://recordings", S3Access(endpoint=endpoint, access_key_id="k", secret_access_key="s")
        )


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as bucket:
        threading.Thread(target=bucket.serve_forever, daemon=True).start()
        yield bucket
        bucket.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(403, "AccessDenied", "does not let its user write"), (404, "NoSuchBucket", "bucket is not there")],
)
def test_a_bucket_that_takes_no_objects_is_not_ready_until_it_does(
    status: int, code: str, reason: str, bucket: Bucket, open_gateway: Callable[..., httpx.Client]
) -> None:
    bucket.status, bucket.code = status, code
    http = open_gateway(store=bucket.open())
    assert reason in why_not(http, "store")
    bucket.status, bucket.code = 412, "PreconditionFailed"  # the object of an earlier probe
    assert is_ready(http)
    bucket.status, bucket.code = status, code
    until(lambda: not is_ready(http))


def test_a_store_that_knows_no_conditional_put_is_ready_all_the_same(
    bucket: Bucket, open_gateway: Callable[..., httpx.Client]
) -> None:
    bucket.knows_no_conditions = True
    http = open_gateway(store=bucket.open())
    assert is_ready(http)
    bucket.status, bucket.code = 403, "AccessDenied"
    until(lambda: not is_ready(http))


def test_many_probes_are_one_request_to_the_bucket(
    bucket: Bucket, open_gateway: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_health, "REMEMBERED_SECONDS", 3600)
    http = open_gateway(store=bucket.open())
    for _ in range(30):
        assert is_ready(http)
    assert bucket.puts == 1


def test_a_bucket_keeps_one_empty_object_of_all_probes(
    s3_endpoint: str, open_gateway: Callable[..., httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.setattr(store_health, "REMEMBERED_SECONDS", 0)
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_endpoint, **keys)
    store = open_object_store(
        "s3://ready-or-not", S3Access(endpoint=s3_endpoint, access_key_id="k", secret_access_key="s")
    )
    http = open_gateway(store=store)
    assert "bucket is not there" in why_not(http, "store")
    client.create_bucket(Bucket="ready-or-not")
    for _ in range(3):
        assert is_ready(http)
    found = client.list_objects_v2(Bucket="ready-or-not")["Contents"]
    assert [(thing["Key"], thing["Size"]) for thing in found] == [("ping", 0)]
