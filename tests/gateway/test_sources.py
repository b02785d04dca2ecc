"""Recordings at an address: fetched under the limits of uploads; nothing inside is reached, no server is waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest

from divisi.access import sources
from divisi.access.address import Lookup
from divisi.access.sources import Sources
from divisi.client import Client
from divisi.contract.errors import InputError, UnavailableError
from divisi.gateway.app import create_app
from divisi.gateway.multipart_form import UploadSink
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import open_object_store

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, WorkOff

LOOPBACK = "127.0.0.0/8"
OUTSIDE = "93.184.215.14"


class Web:
    """A web server on loopback with a recording, and others that are slow, lie or never end."""

    def __init__(self, song: bytes) -> None:
        self.song = song
        self.asked: list[str] = []
        self.ended = threading.Event()
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        headers, body = {"Content-Length": str(len(self.song))}, self.song
        match request.path.partition("?")[0]:
            case "/redirect":
                return self.send(request, 302, {"Location": "/songs/Ave%20verum.wav"}, b"")
            case "/loop":
                return self.send(request, 302, {"Location": "/loop"}, b"")
            case "/inside":
                return self.send(request, 302, {"Location": "http://10.0.0.1/latest/meta-data/"}, b"")
            case "/to-a-file":
                return self.send(request, 302, {"Location": "file:///etc/passwd"}, b"")
            case "/named":
                headers["Content-Disposition"] = 'attachment; filename="Locus iste.flac"'
            case "/missing":
                return self.send(request, 404, {}, b"")
            case "/short":
                body = body[:100]
            case "/huge":
                headers["Content-Length"] = str(10**12)
            case "/page":
                headers, body = {}, b"<html>Log in first</html>" * 100
            case "/compressed":
                headers["Content-Encoding"] = "gzip"
            case "/endless":
                return self.endless(request)
            case "/slow":
                self.send(request, 200, headers, body[:100])
                self.ended.wait()
                return None
            case "/silent":
                self.ended.wait()
                return None
        return self.send(request, 200, headers, body)

    def send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def endless(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.ended.is_set():
            request.wfile.write(self.song)


@pytest.fixture
def web(song: bytes) -> Iterator[Web]:
    site = Web(song)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                site.answer(self)
            except OSError:
                self.close_connection = True  # whoever asked has left

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield site
    site.ended.set()
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"source_allowed_networks": LOOPBACK})


@contextmanager
def another(settings: Settings, serve: Serve, **changes: object) -> Iterator[httpx.Client]:
    """A gateway with other settings."""
    changed = settings.model_copy(update=changes)
    store = open_object_store(changed.store_url)
    app = create_app(changed, RedisDoor(changed.redis_url), store, BundleStore(changed.model_store))
    with serve(app) as served, httpx.Client(base_url=served.url) as client:
        yield client


def test_a_recording_at_an_address_is_separated_as_if_it_had_been_sent(
    gateway: Gateway, http: httpx.Client, web: Web, song: bytes, work_off: WorkOff
) -> None:
    form = {"source_url": (None, f"{web.url}/redirect"), "model": (None, "duo")}
    answers = [
        http.post("/v1/jobs", files=form),
        http.post("/v1/jobs", params={"source_url": f"{web.url}/named"}),
    ]
    assert [answer.status_code for answer in answers] == [202, 202], [answer.text for answer in answers]
    by_form, by_query = (answer.json() for answer in answers)
    assert (by_form["file_name"], by_form["model"]) == ("Ave verum.wav", "duo")
    assert by_query["file_name"] == "Locus iste.flac"
    assert by_form["input"]["duration_seconds"] == 0.5
    assert http.get(by_form["recording"]["href"]).content == song
    with Client(gateway.url) as client:
        job = client.submit(None, source_url=f"{web.url}/songs/Ubi%20caritas.wav", file_name="Ubi")
    assert job["file_name"] == "Ubi"
    assert gateway.uploads() == []
    # A signature in the address rests nowhere.
    assert not any(
        "127.0.0.1" in (gateway.folder / "store" / key).read_bytes().decode("latin-1") for key in gateway.objects()
    )


def test_the_same_key_fetches_once(http: httpx.Client, web: Web) -> None:
    asked = {"params": {"source_url": f"{web.url}/song.wav"}, "headers": {"Idempotency-Key": "monday"}}
    first, second = http.post("/v1/jobs", **asked), http.post("/v1/jobs", **asked)
    assert first.json()["id"] == second.json()["id"]
    assert web.asked == ["/song.wav"]
    other = {"source_url": f"{web.url}/song.wav?2"}
    assert http.post("/v1/jobs", params=other, headers=asked["headers"]).json()["code"] == "idempotency-key-reused"


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("/missing", 422, "source-failed", "answered 404"),
        ("/short", 422, "source-failed", "broke off after 100 bytes"),
        ("/loop", 422, "source-failed", "more than 5 times"),
        ("/inside", 422, "source-refused", "not at a public address"),
        ("/to-a-file", 422, "source-refused", "must begin with https:// or http://"),
        ("/huge", 413, "upload-too-large", "3000000 bytes"),
        ("/endless", 413, "upload-too-large", "3000000 bytes"),
        ("/page", 415, "not-audio", ""),
        ("/compressed", 422, "source-failed", "compressed"),
    ],
)
def test_what_cannot_be_had_is_named_and_leaves_nothing(
    path: str, status: int, code: str, says: str, gateway: Gateway, http: httpx.Client, web: Web
) -> None:
    answer = http.post("/v1/jobs", params={"source_url": web.url + path})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert says in answer.json()["detail"]
    assert (gateway.objects(), gateway.uploads()) == ([], [])


def test_a_server_that_is_not_there_is_named(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", params={"source_url": "http://127.0.0.1:9/song.wav"})
    assert answer.json()["code"] == "source-failed"
    assert "could not be reached" in answer.json()["detail"]


def test_a_recording_and_an_address_are_one_too_many_and_neither_is_one_too_few(
    http: httpx.Client, web: Web, song: bytes
) -> None:
    both = http.post("/v1/jobs", files={"file": song}, params={"source_url": f"{web.url}/song.wav"})
    assert both.json()["code"] == "source-and-file"
    bare = http.post("/v1/jobs", content=song, params={"source_url": f"{web.url}/song.wav"})
    assert bare.json()["code"] == "source-and-file"
    assert http.post("/v1/jobs", files={"model": (None, "duo")}).json()["code"] == "missing-file"
    assert web.asked == []


@pytest.mark.parametrize("limit", ["source_seconds", "IDLE_SECONDS"])
def test_slow_servers_are_given_up_while_the_service_goes_on(
    limit: str, settings: Settings, serve: Serve, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "IDLE_SECONDS":
        monkeypatch.setattr(sources, "IDLE_SECONDS", 0.5)
    changes = {"source_seconds": 0.5} if limit == "source_seconds" else {}
    paths = ["/slow", "/silent"] * 6
    with another(settings, serve, **changes) as http, ThreadPoolExecutor(len(paths)) as pool:
        asks = [pool.submit(http.post, "/v1/jobs", params={"source_url": web.url + path}) for path in paths]
        assert {ask.result().json()["code"] for ask in asks} == {"source-too-slow"}
        assert http.get("/readyz").status_code in (200, 503)
        assert http.get("/v1/jobs").json()["jobs"] == []


REFUSED = [
    *("http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://169.254.169.254/latest/meta-data/"),
    *(
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://0/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.1/",
    ),
    *("http://0x7f000001/", "http://0x7f.1/", "http://127.0.0.1:6379/", "https://localhost/", "http://[::1]/"),
    *("http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/"),
    *("http://[fe80::1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[64:ff9b::a9fe:a9fe]/"),
    *("http://[2002:7f00:1::]/", "http://[fe80::1%25eth0]/", "http://168.63.129.16/", "http://224.0.0.1/"),
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "ftp://choir.example/a.wav", "dict://127.0.0.1:11/"),
    *(
        "data:audio/wav;base64,UklGRg==",
        "//choir.example/a.wav",
        "/etc/passwd",
        "choir.example/a.wav",
        "https:///a.wav",
    ),
    *("https://me:secret@choir.example/", "https://me@choir.example/", "http://choir.example@127.0.0.1/", "https://"),
    *("https://choir.example:99999/", "https://choir.example:x/", "https://chœur.example/", "https://a b.example/"),
    *("https://choir.example\\@127.0.0.1/", "https://[::1/", "jar:http://127.0.0.1!/", "http://127.0.0.1\t/"),
    *("s3://other/a.wav", "s3://recordings/elsewhere/a.wav", "s3://recordings/incoming/../a.wav", "s3://recordings"),
    *("s3://recordings/incoming", "s3:///a.wav", "s3://recordings/incoming//a.wav"),
]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """As deployed, but for the bucket; names lead where the system says, and here to nowhere outside."""
    settings = Settings(source_buckets="s3://recordings/incoming", work_dir=tmp_path_factory.mktemp("strict"))
    return Sources(settings, lambda bucket: pytest.fail(f"{bucket} was opened"))


def sink(path: Path) -> UploadSink:
    return UploadSink(lambda: path.open("wb"), 3_000_000)


@pytest.mark.parametrize("url", REFUSED)
def test_no_address_inside_is_reached_however_it_is_written(url: str, strict: Sources, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        asyncio.run(strict.fetch(url, sink(tmp_path / "source")))
    assert refusal.value.code == "source-refused"


def leading_to(*answers: Sequence[str]) -> tuple[Lookup, list[str]]:
    """A name that leads somewhere else each time; and the hosts that were asked for."""
    asked: list[str] = []

    async def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return lookup, asked


@pytest.mark.parametrize("inside", [["10.0.0.1"], [OUTSIDE, "10.0.0.1"], ["::ffff:10.0.0.1"], ["fd00:ec2::254"]])
def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(inside: list[str], tmp_path: Path) -> None:
    lookup, _ = leading_to(inside)
    looked = Sources(Settings(), lambda bucket: pytest.fail(bucket), lookup)
    with pytest.raises(InputError, match="not at a public address"):
        asyncio.run(looked.fetch("https://choir.example/a.wav", sink(tmp_path / "source")))


def test_a_name_is_looked_up_once_for_each_answer_and_checked_each_time(web: Web, tmp_path: Path) -> None:
    lookup, asked = leading_to(["127.0.0.1"], ["10.0.0.1"])
    looked = Sources(Settings(source_allowed_networks=LOOPBACK), lambda bucket: pytest.fail(bucket), lookup)
    port = web.url.rpartition(":")[2]
    fetched = asyncio.run(looked.fetch(f"http://choir.example:{port}/song.wav", sink(tmp_path / "source")))
    assert (fetched.label, asked) == ("song.wav", ["choir.example"])
    lookup, asked = leading_to(["127.0.0.1"], ["10.0.0.1"])
    looked = Sources(Settings(source_allowed_networks=LOOPBACK), lambda bucket: pytest.fail(bucket), lookup)
    with pytest.raises(InputError, match="not at a public address"):
        asyncio.run(looked.fetch(f"http://choir.example:{port}/redirect", sink(tmp_path / "source")))
    assert asked == ["choir.example"] * 2


def test_more_than_the_service_fetches_at_once_are_asked_to_come_again(tmp_path: Path) -> None:
    async def fetch_all() -> UnavailableError:
        begun = asyncio.Semaphore(0)

        async def lookup(host: str, port: int) -> Sequence[str]:
            begun.release()
            await asyncio.Event().wait()
            return []

        looked = Sources(Settings(), lambda bucket: pytest.fail(bucket), lookup)
        fetches = [
            asyncio.create_task(looked.fetch("https://choir.example/", sink(tmp_path / str(number))))
            for number in range(sources.MOST_AT_ONCE)
        ]
        for _ in fetches:
            await begun.acquire()
        with pytest.raises(UnavailableError) as refusal:
            await looked.fetch("https://choir.example/", sink(tmp_path / "another"))
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        assert looked._under_way == 0
        return refusal.value

    assert asyncio.run(fetch_all()).code == "queue-full"


@pytest.mark.parametrize(
    "target", ["s3://recordings", "s3://elsewhere/results", "s3://recordings/results/../a", "file:///tmp"]
)
def test_a_target_that_is_not_allowed_is_refused_with_the_upload(
    target: str, settings: Settings, serve: Serve, song: bytes
) -> None:
    with another(settings, serve, target_buckets="s3://recordings/results") as http:
        refused = http.post("/v1/jobs", files={"file": song}, params={"target": target})
        assert (refused.status_code, refused.json()["code"]) == (422, "target-refused")
        taken = http.post("/v1/jobs", files={"file": song}, params={"target": "s3://recordings/results"})
        assert taken.status_code == 202


def test_a_bucket_that_is_allowed_is_read_with_the_services_own_access(
    settings: Settings, serve: Serve, s3_endpoint: str, song: bytes
) -> None:
    access = {"s3_endpoint": s3_endpoint, "s3_access_key_id": "test", "source_buckets": "s3://recordings/incoming"}
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=s3_endpoint, **keys)
    bucket.upload_fileobj(BytesIO(song), "recordings", "incoming/Ave verum.wav")
    bucket.upload_fileobj(BytesIO(b"0" * 3_000_001), "recordings", "incoming/large.wav")
    environment = Settings(s3_secret_access_key="test").s3_secret_access_key
    with another(settings, serve, **access, s3_secret_access_key=environment) as http:
        answers = [
            http.post("/v1/jobs", params={"source_url": f"s3://recordings/{key}"}).json()
            for key in ("incoming/Ave verum.wav", "incoming/missing.wav", "incoming/large.wav", "elsewhere/a.wav")
        ]
    assert answers[0].get("file_name") == "Ave verum.wav", answers[0]
    assert [answer["code"] for answer in answers[1:]] == ["source-failed", "upload-too-large", "source-refused"]
