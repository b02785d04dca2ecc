"""One suite over every store: a local folder, memory and S3 must behave alike."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.patience import PATIENCE_SECONDS

from divisi.contract.errors import InputError, NotFoundError, UnavailableError
from divisi.storage.names import content_disposition
from divisi.storage.object_store import PART_BYTES, READ_BYTES, ObjectStore, S3Access, open_object_store

pytestmark = pytest.mark.anyio


def open_store(kind: str, folder: Path, request: pytest.FixtureRequest) -> ObjectStore:
    if kind == "folder":
        return open_object_store(f"file://{folder / 'store'}")
    if kind == "memory":
        return open_object_store("memory://")
    return open_object_store(
        f"s3://recordings/{uuid.uuid4().hex}",
        S3Access(endpoint=request.getfixturevalue("s3_endpoint"), access_key_id="test", secret_access_key="test"),
    )


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    return open_store(request.param, tmp_path, request)


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    """More than two parts of an upload, so that it goes in pieces both ways."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(2 * PART_BYTES + 12_345))
    return path


async def collect(store: ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.stream(key, start, end)])


async def test_small_bytes_come_back_as_they_went(store: ObjectStore) -> None:
    await store.put_bytes("jobs/a/accepted.json", b'{"id": "a"}')
    assert await store.get_bytes("jobs/a/accepted.json") == b'{"id": "a"}'


async def test_a_later_put_replaces_the_object(store: ObjectStore) -> None:
    await store.put_bytes("jobs/a/x", b"first")
    await store.put_bytes("jobs/a/x", b"second")
    assert await store.get_bytes("jobs/a/x") == b"second"


async def test_a_large_file_travels_in_parts_and_comes_back_whole(
    store: ObjectStore, large_file: Path, tmp_path: Path
) -> None:
    await store.put_file("jobs/a/mixture", large_file, media_type="audio/wav", disposition="attachment")
    assert (await store.head("jobs/a/mixture")).size == large_file.stat().st_size
    assert await collect(store, "jobs/a/mixture") == large_file.read_bytes()
    size = await asyncio.to_thread(store.download, "jobs/a/mixture", tmp_path / "copy")
    assert size == large_file.stat().st_size
    assert (tmp_path / "copy").read_bytes() == large_file.read_bytes()


async def test_the_blocking_upload_stores_what_the_async_one_would(store: ObjectStore, large_file: Path) -> None:
    await asyncio.to_thread(store.upload, "jobs/a/mixture", large_file)
    assert await collect(store, "jobs/a/mixture") == large_file.read_bytes()


async def test_an_empty_file_is_an_object_too(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    await store.put_file("jobs/a/mixture", tmp_path / "empty")
    assert (await store.head("jobs/a/mixture")).size == 0
    assert await collect(store, "jobs/a/mixture") == b""


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (1, 4), (READ_BYTES - 1, READ_BYTES + 1), (2 * READ_BYTES, None), (5, 5)]
)
async def test_a_range_is_exactly_the_bytes_asked_for(
    store: ObjectStore, large_file: Path, start: int, end: int | None
) -> None:
    await store.put_file("jobs/a/mixture", large_file)
    assert await collect(store, "jobs/a/mixture", start, end) == large_file.read_bytes()[start:end]


async def test_what_is_not_there_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    for read in (store.head("jobs/a/x"), store.get_bytes("jobs/a/x"), collect(store, "jobs/a/x")):
        with pytest.raises(NotFoundError) as caught:
            await read
        assert caught.value.code == "object-not-found"
    with pytest.raises(NotFoundError):
        await asyncio.to_thread(store.download, "jobs/a/x", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_prefix_holds_what_is_below_it_and_nothing_else(store: ObjectStore) -> None:
    for key in ("jobs/a/mixture", "jobs/a/attempts/1/alto.wav", "jobs/ab/mixture"):
        await store.put_bytes(key, b"x")
    assert [stored.key for stored in await store.list("jobs/a")] == ["jobs/a/attempts/1/alto.wav", "jobs/a/mixture"]
    assert await store.list_folders("jobs") == ["a", "ab"]
    assert await store.list("elsewhere") == []
    assert await store.list_folders("elsewhere") == []


async def test_deleting_a_prefix_leaves_its_neighbours(store: ObjectStore) -> None:
    for key in ("jobs/a/mixture", "jobs/a/attempts/1/alto.wav", "jobs/ab/mixture"):
        await store.put_bytes(key, b"x")
    assert await store.delete_prefix("jobs/a") == 2
    assert await store.list_folders("jobs") == ["ab"]
    assert await store.delete_prefix("jobs/a") == 0


async def test_deleting_twice_or_at_once_is_no_error(store: ObjectStore) -> None:
    for number in range(20):
        await store.put_bytes(f"jobs/a/{number}", b"x")
    await asyncio.gather(store.delete_prefix("jobs/a"), store.delete_prefix("jobs/a"))
    assert await store.list("jobs/a") == []
    await store.delete("jobs/a/1")


@pytest.mark.parametrize(
    "key", ["../x", "jobs/../../x", "/etc/passwd", "jobs//x", "jobs/./x", "", "jobs/a\\b", "jobs/\x00", "jobs/é"]
)
async def test_no_key_leads_out_of_the_store(store: ObjectStore, key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        await store.put_bytes(key, b"x")
    assert caught.value.code == "invalid-key"
    for blocked in (store.get_bytes(key), store.head(key), store.delete(key), store.delete_prefix(key)):
        with pytest.raises(InputError):
            await blocked
    with pytest.raises(InputError):
        store.download(key, tmp_path / "copy")


async def test_a_download_never_overwrites_a_file(store: ObjectStore, tmp_path: Path) -> None:
    await store.put_bytes("jobs/a/x", b"new")
    (tmp_path / "taken").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        store.download("jobs/a/x", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"old"


async def test_a_store_that_answers_pings(store: ObjectStore) -> None:
    await store.ping()


async def test_half_an_upload_is_never_visible(tmp_path: Path, large_file: Path) -> None:
    store = open_object_store(f"file://{tmp_path / 'store'}")
    seen = set()
    put = asyncio.create_task(store.put_file("jobs/a/mixture", large_file))
    while not put.done():
        seen |= {stored.size for stored in await store.list("jobs/a")}
    await put
    assert seen <= {large_file.stat().st_size}


async def test_what_a_killed_writer_left_goes_with_the_prefix(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path / 'store'}")
    await store.put_bytes("jobs/a/mixture", b"x")
    (tmp_path / "store/jobs/a/attempt#1").write_bytes(b"half a stem")
    assert await store.delete_prefix("jobs/a") == 1
    assert not (tmp_path / "store/jobs/a").exists()


async def test_only_s3_gives_signed_links(tmp_path: Path, s3_endpoint: str) -> None:
    assert await open_object_store(f"file://{tmp_path}").signed_url("jobs/a/x", 60) is None
    assert await open_object_store("memory://").signed_url("jobs/a/x", 60) is None


async def test_a_signed_link_saves_under_the_name_of_the_download(tmp_path: Path, s3_endpoint: str) -> None:
    store = open_object_store(
        f"s3://recordings/{uuid.uuid4().hex}", S3Access(endpoint=s3_endpoint, access_key_id="k", secret_access_key="s")
    )
    (tmp_path / "alto.wav").write_bytes(b"RIFF")
    disposition = content_disposition("Ave é.wav", "alto.wav", "a")
    await store.put_file("jobs/a/alto.wav", tmp_path / "alto.wav", media_type="audio/wav", disposition=disposition)
    link = await store.signed_url("jobs/a/alto.wav", 60)
    assert link is not None
    answer = httpx.get(link)
    assert answer.content == b"RIFF"
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''Ave%20%C3%A9%20-%20alto.wav")


async def test_links_are_signed_for_the_address_that_clients_see(s3_endpoint: str) -> None:
    store = open_object_store(
        "s3://recordings",
        S3Access(
            endpoint=s3_endpoint, public_endpoint="https://stems.example.org", access_key_id="k", secret_access_key="s"
        ),
    )
    link = await store.signed_url("jobs/a/alto.wav", 60)
    assert link is not None
    assert link.startswith("https://stems.example.org/recordings/jobs/a/alto.wav?")
    assert "X-Amz-Expires=60" in link


async def test_a_store_that_is_away_says_so_soon(tmp_path: Path) -> None:
    away = open_object_store(
        "s3://recordings",
        S3Access(endpoint="http://127.0.0.1:1", access_key_id="k", secret_access_key="s", patience_seconds=0.3),
    )
    (tmp_path / "x").write_bytes(b"x")
    async with asyncio.timeout(PATIENCE_SECONDS):
        for call in (away.ping(), away.put_bytes("jobs/a", b"x"), away.list("jobs"), away.delete_prefix("jobs")):
            with pytest.raises(UnavailableError) as caught:
                await call
            assert caught.value.code == "store-unavailable"
            assert caught.value.__cause__ is not None
        with pytest.raises(UnavailableError):
            away.upload("jobs/a", tmp_path / "x")


async def test_a_bucket_that_is_not_there_is_away_and_no_missing_object(s3_endpoint: str) -> None:
    store = open_object_store(
        "s3://no-such-bucket", S3Access(endpoint=s3_endpoint, access_key_id="k", secret_access_key="s")
    )
    with pytest.raises(UnavailableError) as caught:
        await store.put_bytes("jobs/a", b"x")
    assert caught.value.code == "store-unavailable"
    assert store.failures == {"put": 1}


async def test_a_store_keeps_what_is_there_when_asked_to(tmp_path: Path, s3_endpoint: str) -> None:
    bucket = open_object_store(
        "s3://recordings", S3Access(endpoint=s3_endpoint, access_key_id="k", secret_access_key="s")
    )
    for store in (open_object_store(f"file://{tmp_path}"), bucket):
        await store.put_bytes("jobs/kept", b"first")
        assert await store.keeps_first("jobs/kept")
        assert await store.get_bytes("jobs/kept") == b"first"
        await store.delete("jobs/kept")


async def test_a_folder_that_vanished_is_away(tmp_path: Path) -> None:
    store = open_object_store(f"file://{tmp_path / 'store'}")
    (tmp_path / "store").rmdir()
    with pytest.raises(UnavailableError):
        await store.ping()


async def test_a_relative_folder_is_created_where_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await open_object_store("file://./deep/store").put_bytes("jobs/a", b"x")
    assert (tmp_path / "deep/store/jobs/a").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["", "store", "file://", "s3://", "ftp://x", "memory://x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_object_store(url)
    assert caught.value.code == "invalid-store-url"
