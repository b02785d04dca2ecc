from __future__ import annotations

import time
from dataclasses import replace

import pytest
import redis

from divisi.jobs.queue import JobQueue
from divisi.jobs.roll_call import FORGET_SECONDS, WorkerState, WorkerStatus

pytestmark = pytest.mark.anyio

STATUS = WorkerStatus("host-7-ab", WorkerState.BUSY, 1.8e9, "onnx_runtime", "cpu", job_id="01m82509an0z2za7kt3a89vjd6")


async def test_what_workers_said_last_is_told_by_name(queue: JobQueue) -> None:
    await queue.announce(replace(STATUS, consumer="b", state=WorkerState.STARTING, problem="no model"))
    await queue.announce(replace(STATUS, consumer="a"))
    await queue.announce(replace(STATUS, consumer="a", state=WorkerState.IDLE, job_id=None, attempts=3))
    first, second = await queue.workers()
    assert first.silent_seconds < FORGET_SECONDS
    assert replace(first, silent_seconds=0.0) == replace(
        STATUS, consumer="a", state=WorkerState.IDLE, job_id=None, attempts=3
    )
    assert (second.consumer, second.problem) == ("b", "no model")


async def test_a_worker_that_signs_off_is_forgotten(queue: JobQueue) -> None:
    await queue.announce(STATUS)
    await queue.sign_off(STATUS.consumer)
    assert await queue.workers() == ()


async def test_a_worker_that_fell_silent_ages_and_is_then_forgotten(queue: JobQueue, raw: redis.Redis) -> None:
    before = time.monotonic()
    await queue.announce(STATUS)
    seen = queue.key("workers", "seen")
    raw.zincrby(seen, -30_000, STATUS.consumer)
    (worker,) = await queue.workers()
    assert 30 <= worker.silent_seconds <= 30.1 + time.monotonic() - before
    raw.zincrby(seen, -31_000, STATUS.consumer)
    assert await queue.workers() == ()
    await queue.announce(replace(STATUS, consumer="another"))
    assert raw.hkeys(queue.key("workers")) == ["another"]


async def test_what_a_newer_worker_says_of_itself_is_read_as_far_as_it_is_known(
    queue: JobQueue, raw: redis.Redis
) -> None:
    await queue.announce(STATUS)
    said = raw.hget(queue.key("workers"), STATUS.consumer)
    raw.hset(queue.key("workers"), STATUS.consumer, said[:-1] + ', "mood": "cheerful"}')
    assert [worker.job_id for worker in await queue.workers()] == [STATUS.job_id]
