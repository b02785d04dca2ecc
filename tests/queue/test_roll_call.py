from __future__ import annotations

import time
from dataclasses import replace

import pytest
import redis

from divisi.queue.job_queue import JobQueue
from divisi.queue.worker_side import FORGET_SECONDS, RollCall, WorkerState, WorkerStatus

pytestmark = pytest.mark.anyio

STATUS = WorkerStatus("host-7-ab", WorkerState.BUSY, 1.8e9, "onnx_runtime", "cpu", job_id="01m82509an0z2za7kt3a89vjd6")


async def test_what_workers_said_last_is_told_by_name(queue: JobQueue) -> None:
    roll_call = RollCall(queue.door)
    await roll_call.announce(replace(STATUS, consumer="b", state=WorkerState.STARTING, problem="no model"))
    await roll_call.announce(replace(STATUS, consumer="a"))
    await roll_call.announce(replace(STATUS, consumer="a", state=WorkerState.IDLE, job_id=None, attempts=3))
    first, second = await roll_call.workers()
    assert first.silent_seconds < FORGET_SECONDS
    assert replace(first, silent_seconds=0.0) == replace(
        STATUS, consumer="a", state=WorkerState.IDLE, job_id=None, attempts=3
    )
    assert (second.consumer, second.problem) == ("b", "no model")


async def test_a_worker_that_signs_off_is_forgotten(queue: JobQueue) -> None:
    roll_call = RollCall(queue.door)
    await roll_call.announce(STATUS)
    await roll_call.sign_off(STATUS.consumer)
    assert await roll_call.workers() == ()


async def test_a_worker_that_fell_silent_ages_and_is_then_forgotten(queue: JobQueue, raw: redis.Redis) -> None:
    roll_call = RollCall(queue.door)
    before = time.monotonic()
    await roll_call.announce(STATUS)
    seen = queue.door.key("workers", "seen")
    raw.zincrby(seen, -30_000, STATUS.consumer)
    (worker,) = await roll_call.workers()
    assert 30 <= worker.silent_seconds <= 30.1 + time.monotonic() - before
    raw.zincrby(seen, -31_000, STATUS.consumer)
    assert await roll_call.workers() == ()
    await roll_call.announce(replace(STATUS, consumer="another"))
    assert raw.hkeys(queue.door.key("workers")) == ["another"]


async def test_what_a_newer_worker_says_of_itself_is_read_as_far_as_it_is_known(
    queue: JobQueue, raw: redis.Redis
) -> None:
    roll_call = RollCall(queue.door)
    await roll_call.announce(STATUS)
    said = raw.hget(queue.door.key("workers"), STATUS.consumer)
    raw.hset(queue.door.key("workers"), STATUS.consumer, said[:-1] + ', "mood": "cheerful"}')
    assert [worker.job_id for worker in await roll_call.workers()] == [STATUS.job_id]
