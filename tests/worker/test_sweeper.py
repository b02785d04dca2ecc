from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest
import redis

from divisi.contract.errors import NotFoundError
from divisi.contract.job import Job
from divisi.life import mark_sharers, sweep_attempt, sweep_expired
from divisi.queue.job_queue import JobQueue
from divisi.queue.worker_side import WorkerSide
from divisi.storage.names import job_prefix, mixture_key, stem_key
from divisi.storage.object_store import ObjectStore

pytestmark = pytest.mark.anyio

Accept = Callable[..., Awaitable[Job]]
A_DAY_LATER = 24 * 3600 + 60


async def test_an_expired_job_is_erased_with_its_audio_and_a_running_one_is_not(
    queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    ended, running = await accept(), await accept()
    await queue.cancel(ended.job_id)
    await WorkerSide(queue.door).claim("worker")
    assert await sweep_expired(queue, store) == 0
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 1
    assert await store.list(job_prefix(ended.job_id)) == []
    with pytest.raises(NotFoundError):
        await queue.get(ended.job_id)
    assert len(await store.list(job_prefix(running.job_id))) == 1


async def test_a_shared_recording_is_erased_with_the_last_job_that_expires(
    queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    first, second = await accept(upload="u"), await accept(upload="u")
    await mark_sharers(store, "u", [first.job_id, second.job_id])
    await queue.cancel(first.job_id)
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 1
    assert len(await store.get_bytes(mixture_key(second.job_id, "u"))) > 0
    await queue.cancel(second.job_id)
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 1
    assert await store.list("uploads") == []


async def test_a_record_that_cannot_be_read_keeps_no_other_job(
    queue: JobQueue, store: ObjectStore, accept: Accept, redis_url: str
) -> None:
    unreadable, ended = await accept(), await accept()
    await queue.cancel(unreadable.job_id)
    await queue.cancel(ended.job_id)
    with redis.Redis.from_url(redis_url) as client:
        [key] = [key for key in client.scan_iter() if key.decode().endswith(f"job:{unreadable.job_id}")]
        client.hset(key, "record", "{")
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 2
    assert await store.list_folders("jobs") == []


async def test_more_expired_jobs_than_one_look_shows_are_all_erased(
    queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    for _ in range(130):
        await queue.cancel((await accept(seconds=0.01)).job_id)
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 130
    assert await store.list_folders("jobs") == []


async def test_a_sweep_that_was_interrupted_is_done_again(queue: JobQueue, store: ObjectStore, accept: Accept) -> None:
    job = await accept()
    await queue.cancel(job.job_id)
    await store.delete_prefix(job_prefix(job.job_id))  # objects gone, record still there
    assert await sweep_expired(queue, store, time.time() + A_DAY_LATER) == 1


async def test_one_attempt_is_swept_and_the_others_stay(store: ObjectStore) -> None:
    job_id = "a" * 26
    for attempt in (1, 2, 11):
        await store.put_bytes(stem_key(job_id, attempt, "alto.wav"), b"audio")
    await sweep_attempt(store, job_id, 1)
    left = [stored.key for stored in await store.list(job_prefix(job_id))]
    assert left == [stem_key(job_id, 11, "alto.wav"), stem_key(job_id, 2, "alto.wav")]
