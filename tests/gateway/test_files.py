"""Stems over HTTP: whole, in ranges, on conditions, as an archive, and by links of an object store."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import pytest

from divisi.gateway.app import create_app
from divisi.models.bundle import BundleStore
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.storage.object_store import ObjectStore, S3Access, open_object_store

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, StemBytes, WorkOff

pytestmark = pytest.mark.anyio


@pytest.fixture
def job_url(http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff) -> str:
    """Path of a finished job."""

    async def finish() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store)

    url = http.post("/v1/jobs", files={"file": ("Ave verum – live.wav", song)}).headers["location"]
    asyncio.run(finish())
    return url


@pytest.fixture
def alto(stem_bytes: StemBytes) -> bytes:
    return stem_bytes("alto")


def test_a_stem_comes_whole_under_its_names_and_its_tag(http: httpx.Client, job_url: str, alto: bytes) -> None:
    answer = http.get(f"{job_url}/stems/alto")
    assert answer.status_code == 200
    assert answer.content == alto
    assert answer.headers["etag"] == f'"{sha256(alto).hexdigest()}"'
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-length"] == str(len(alto))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"].endswith(
        "filename*=UTF-8''Ave%20verum%20%E2%80%93%20live%20-%20alto.wav"
    )


def test_head_tells_all_but_the_bytes(http: httpx.Client, job_url: str, alto: bytes) -> None:
    answer = http.head(f"{job_url}/stems/alto")
    assert answer.status_code == 200
    assert answer.content == b""
    whole = http.get(f"{job_url}/stems/alto").headers
    for name in ("etag", "content-type", "content-length", "accept-ranges", "content-disposition"):
        assert answer.headers[name] == whole[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=-5", 99_995, 100_000),
        ("bytes=-200000", 0, 100_000),
        ("bytes=99990-999999", 99_990, 100_000),
    ],
)
def test_a_range_is_honoured(asked: str, start: int, end: int, http: httpx.Client, job_url: str, alto: bytes) -> None:
    answer = http.get(f"{job_url}/stems/alto", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == alto[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(alto)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "items=0-1", "bytes=", "bytes=-", "bytes=5-4", "bytes=a-b", "x"])
def test_a_range_that_is_not_one_range_of_bytes_gives_the_whole(
    asked: str, http: httpx.Client, job_url: str, alto: bytes
) -> None:
    answer = http.get(f"{job_url}/stems/alto", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, alto)


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=100000-100001", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_length(asked: str, http: httpx.Client, job_url: str) -> None:
    answer = http.get(f"{job_url}/stems/alto", headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */100000"


def test_a_range_of_another_version_gives_the_whole(http: httpx.Client, job_url: str, alto: bytes) -> None:
    tag = http.head(f"{job_url}/stems/alto").headers["etag"]
    for if_range, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), ("Sun, 22 Nov 2026 12:00:00 GMT", 200)):
        answer = http.get(f"{job_url}/stems/alto", headers={"Range": "bytes=0-9", "If-Range": if_range})
        assert (answer.status_code, answer.content) == (status, alto[:10] if status == 206 else alto)


def test_what_the_caller_has_is_not_sent_again(http: httpx.Client, job_url: str) -> None:
    tag = http.head(f"{job_url}/stems/alto").headers["etag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = http.get(f"{job_url}/stems/alto", headers={"If-None-Match": held})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert http.get(f"{job_url}/stems/alto", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["countertenor", "alto.wav", "%2e%2e%2f%2e%2e%2faccepted.json", "ALTO"])
def test_a_stem_that_the_job_lacks_is_not_found(name: str, http: httpx.Client, job_url: str) -> None:
    answer = http.get(f"{job_url}/stems/{name}")
    assert answer.status_code == 404
    if answer.json()["code"] == "unknown-stem":
        assert answer.json()["facts"]["known"] == ["soprano", "alto", "tenor", "bass"]


def test_stems_of_an_unfinished_job_are_not_there_yet(http: httpx.Client, song: bytes) -> None:
    url = http.post("/v1/jobs", files={"file": song}).headers["location"]
    for path in ("stems/alto", "archive.zip"):
        answer = http.get(f"{url}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "job-not-finished")


def test_a_stem_that_the_store_has_lost_is_no_empty_200(http: httpx.Client, job_url: str, gateway: Gateway) -> None:
    path = next((gateway.folder / "store").rglob("alto.wav"))
    path.write_bytes(path.read_bytes()[:-1])
    answer = http.get(f"{job_url}/stems/alto")
    assert (answer.status_code, answer.json()["code"]) == (500, "damaged-stem")
    path.unlink()
    assert http.get(f"{job_url}/stems/alto").status_code == 404
    assert http.get(f"{job_url}/archive.zip").status_code == 404


def test_the_archive_holds_every_stem_as_it_is_and_a_manifest(
    http: httpx.Client, job_url: str, stem_bytes: StemBytes
) -> None:
    answer = http.get(f"{job_url}/archive.zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].endswith("live%20-%20stems.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = ["soprano", "alto", "tenor", "bass"]
        assert archive.namelist() == ["manifest.json", *(f"{name}.wav" for name in names)]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        for name in names:
            assert archive.read(f"{name}.wav") == stem_bytes(name)
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["id"] == job_url.rsplit("/", 1)[-1]
    assert manifest["model"] == "quartet"
    assert manifest["stems"][1]["sha256"] == sha256(stem_bytes("alto")).hexdigest()


class CountedReads:
    """Stands before a store and counts how often each object is read."""

    def __init__(self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        self._stream = store.stream
        monkeypatch.setattr(store, "stream", self._counted)

    def _counted(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        self.counts[key.rsplit("/", 1)[-1]] += 1
        return self._stream(key, start, end)


@pytest.mark.parametrize(("is_of_version_0_1", "num_reads"), [(False, 1), (True, 2)])
async def test_the_archive_reads_each_stem_once_and_twice_those_of_version_0_1(
    is_of_version_0_1: bool,
    num_reads: int,
    gateway: Gateway,
    http: httpx.Client,
    song: bytes,
    queue: JobQueue,
    work_off: WorkOff,
    stem_bytes: StemBytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = http.post("/v1/jobs", files={"file": song}).headers["location"]
    await work_off(queue, gateway.store, is_of_version_0_1=is_of_version_0_1)
    reads = CountedReads(gateway.store, monkeypatch)
    content = http.get(f"{url}/archive.zip").content
    names = ["soprano", "alto", "tenor", "bass"]
    assert reads.counts == {f"{name}.wav": num_reads for name in names}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert [archive.read(f"{name}.wav") for name in names] == [stem_bytes(name) for name in names]


def test_an_archive_of_stems_that_changed_in_the_store_breaks_off(
    http: httpx.Client, job_url: str, gateway: Gateway, alto: bytes
) -> None:
    path = next((gateway.folder / "store").rglob("alto.wav"))
    path.write_bytes(alto[:-1] + bytes([alto[-1] ^ 1]))
    with pytest.raises(httpx.RemoteProtocolError):
        http.get(f"{job_url}/archive.zip")


@pytest.fixture
def s3_gateway(gateway: Gateway, s3_endpoint: str, serve: Serve) -> Iterator[tuple[httpx.Client, ObjectStore]]:
    """A second gateway on the same Redis, over S3."""
    store = open_object_store(
        f"s3://recordings/{uuid.uuid4().hex}", S3Access(endpoint=s3_endpoint, access_key_id="k", secret_access_key="s")
    )
    app = create_app(gateway.settings, RedisDoor(gateway.redis_url), store, BundleStore(gateway.settings.model_store))
    with serve(app) as served, httpx.Client(base_url=served.url) as client:
        yield client, store


async def test_on_s3_a_stem_is_a_redirect_to_an_expiring_link(
    s3_gateway: tuple[httpx.Client, ObjectStore], song: bytes, queue: JobQueue, work_off: WorkOff, alto: bytes
) -> None:
    http, store = s3_gateway
    url = http.post("/v1/jobs", files={"file": song}).headers["location"]
    await work_off(queue, store)
    answer = http.get(f"{url}/stems/alto")
    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    assert "X-Amz-Expires=3600" in answer.headers["location"]
    with httpx.Client() as anybody:
        assert anybody.get(answer.headers["location"]).content == alto
        part = anybody.get(answer.headers["location"], headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, alto[5:10])
    tag = http.head(f"{url}/stems/alto").headers["etag"]
    assert tag == f'"{sha256(alto).hexdigest()}"'
    assert http.get(f"{url}/stems/alto", headers={"If-None-Match": tag}).status_code == 304
    with zipfile.ZipFile(io.BytesIO(http.get(f"{url}/archive.zip").content)) as archive:
        assert archive.read("alto.wav") == alto
    assert http.delete(url).status_code == 204
    assert await store.list("jobs") == []
