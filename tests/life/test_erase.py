"""A recording that several jobs share lives as long as the last of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from divisi.contract.errors import UnavailableError
from divisi.life import erase_audio, mark_sharers, sharers_of
from divisi.storage.names import accepted_key, mixture_key, upload_prefix
from divisi.storage.object_store import ObjectStore, open_object_store

pytestmark = pytest.mark.anyio

JOBS = ("a" * 26, "b" * 26, "c" * 26)
UPLOAD = "0" * 26


@pytest.fixture(params=["memory", "folder"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    store = open_object_store("memory://" if request.param == "memory" else f"file://{tmp_path / 'store'}")
    await mark_sharers(store, UPLOAD, JOBS)
    await store.put_bytes(mixture_key(JOBS[0], UPLOAD), b"song")
    for job_id in JOBS:
        await store.put_bytes(accepted_key(job_id), b"{}")
    return store


async def keys(store: ObjectStore) -> list[str]:
    return [found.key for prefix in ("jobs", "uploads") for found in await store.list(prefix)]


@pytest.mark.parametrize("order", [JOBS, JOBS[::-1], (JOBS[1], JOBS[2], JOBS[0])])
async def test_the_recording_goes_with_the_last_job_whichever_it_is(store: ObjectStore, order: tuple[str, ...]) -> None:
    for job_id in order[:-1]:
        await erase_audio(store, job_id, UPLOAD)
        assert await store.get_bytes(mixture_key(job_id, UPLOAD)) == b"song"
    assert await sharers_of(store, UPLOAD) == [order[-1]]
    await erase_audio(store, order[-1], UPLOAD)
    assert await keys(store) == []


async def test_jobs_that_go_at_once_leave_nothing(store: ObjectStore) -> None:
    await asyncio.gather(*(erase_audio(store, job_id, UPLOAD) for job_id in (*JOBS, *JOBS)))
    assert await keys(store) == []


async def test_erasing_a_job_twice_takes_no_other_jobs_recording(store: ObjectStore) -> None:
    for _ in range(4):
        await erase_audio(store, JOBS[0], UPLOAD)
    assert await store.get_bytes(mixture_key(JOBS[1], UPLOAD)) == b"song"


async def test_an_interrupted_erasure_is_done_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for job_id in JOBS[1:]:
        await erase_audio(store, job_id, UPLOAD)
    delete_prefix = store.delete_prefix

    async def away(prefix: str) -> int:
        if prefix == upload_prefix(UPLOAD):
            raise UnavailableError("the object store is away", code="store-unavailable")
        return await delete_prefix(prefix)

    with monkeypatch.context() as patched:
        patched.setattr(store, "delete_prefix", away)
        with pytest.raises(UnavailableError):
            await erase_audio(store, JOBS[0], UPLOAD)
    assert await keys(store) == [mixture_key(JOBS[0], UPLOAD)]
    await erase_audio(store, JOBS[0], UPLOAD)
    assert await keys(store) == []


async def test_a_job_with_a_recording_of_its_own_goes_alone(store: ObjectStore) -> None:
    own = "d" * 26
    await store.put_bytes(mixture_key(own), b"another song")
    before = await keys(store)
    await erase_audio(store, own, None)
    assert await keys(store) == [key for key in before if own not in key]
