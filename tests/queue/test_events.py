from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
import redis
from tests.patience import PATIENCE_SECONDS

from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.job import Job, JobEvent, JobState, Problem, new_job_id
from divisi.contract.manifest import Manifest
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import EventReader
from divisi.queue.worker_side import Claim, WorkerSide

pytestmark = pytest.mark.anyio

MakeJob = Callable[..., Job]
ManifestOf = Callable[[Claim], Manifest]


async def listen(queue: JobQueue, job_id: str, after_id: str | None = None, most: int | None = None) -> list[JobEvent]:
    heard: list[JobEvent] = []
    async for event in EventReader(queue.door).events(job_id, after_id):
        assert event is not None
        heard.append(event)
        if len(heard) == most:
            break
    return heard


async def run_to_the_end(queue: JobQueue, manifest_of: ManifestOf, steps: int = 10) -> Claim:
    worker_side = WorkerSide(queue.door)
    claim = await worker_side.claim("worker")
    assert claim is not None
    for step in range(1, steps):
        await worker_side.report(claim, step / steps, "separating")
    await worker_side.commit(claim, manifest_of(claim))
    return claim


async def test_a_listener_hears_everything_from_queued_to_the_end(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    job = make_job()
    await queue.submit(job)
    listening = asyncio.create_task(listen(queue, job.job_id))
    await run_to_the_end(queue, manifest_of, steps=5)
    heard = await asyncio.wait_for(listening, PATIENCE_SECONDS)
    assert [event.kind for event in heard] == [
        JobState.QUEUED,
        JobState.RUNNING,
        *[None] * 4,
        JobState.SUCCEEDED,
    ]
    assert [event.progress for event in heard] == [0, 0, 0.2, 0.4, 0.6, 0.8, 1.0]


async def test_the_first_event_has_the_same_id_before_and_after_the_stream_begins(
    queue: JobQueue, make_job: MakeJob
) -> None:
    job = make_job()
    await queue.submit(job)
    (made_up,) = await listen(queue, job.job_id, most=1)
    await WorkerSide(queue.door).claim("worker")
    written, running = await listen(queue, job.job_id, most=2)
    assert written == made_up
    (resumed,) = await listen(queue, job.job_id, after_id=made_up.event_id, most=1)
    assert resumed == running


async def test_the_last_event_has_the_same_id_after_the_stream_is_gone(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    await queue.submit(make_job())
    claim = await run_to_the_end(queue, manifest_of)
    heard = await listen(queue, claim.job_id)
    assert 0 < raw.ttl(queue.door.key("events", claim.job_id)) <= 3600
    raw.delete(queue.door.key("events", claim.job_id))
    assert await listen(queue, claim.job_id, after_id=heard[-2].event_id) == [heard[-1]]
    assert await listen(queue, claim.job_id, after_id=heard[-1].event_id) == []


async def test_a_hundred_dropped_connections_leave_no_gap_and_no_duplicate(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    job = make_job()
    await queue.submit(job)
    luck = random.Random(7)
    heard: list[JobEvent] = []
    drops = 0

    async def keep_listening() -> None:
        nonlocal drops
        while not heard or not heard[-1].is_last:
            after = heard[-1].event_id if heard else None
            heard.extend(await listen(queue, job.job_id, after, most=luck.choice([1, 1, 1, 2])))
            drops += 1

    listening = asyncio.create_task(keep_listening())
    claim = await worker_side.claim("one")
    for attempt in range(3):
        assert claim is not None
        for step in range(attempt * 40, attempt * 40 + 50):
            await worker_side.report(claim, step / 150, "separating")
        if attempt < 2:
            await worker_side.give_up_attempt(claim, Problem("worker-crashed", "SIGKILL"))
            claim = await worker_side.claim(f"next-{attempt}")
    assert claim is not None
    await worker_side.commit(claim, manifest_of(claim))
    await asyncio.wait_for(listening, PATIENCE_SECONDS)
    assert heard == await listen(queue, job.job_id)
    assert drops >= 60
    shares = [event.progress for event in heard]
    assert shares == sorted(shares)


async def test_progress_is_told_once_for_each_per_cent(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    await queue.submit(make_job())
    claim = await run_to_the_end(queue, manifest_of, steps=2000)
    heard = await listen(queue, claim.job_id)
    assert 95 <= len(heard) <= 105


async def test_a_new_stage_is_told_even_without_progress(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker")
    assert claim is not None
    for stage in ("fetching", "fetching", "inspecting"):
        await worker_side.report(claim, 0.0, stage)
    heard = await listen(queue, claim.job_id, most=4)
    assert [event.stage for event in heard[2:]] == ["fetching", "inspecting"]


async def test_a_lost_attempt_is_told_with_its_reason(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.give_up_attempt(claim, Problem("worker-crashed", "SIGSEGV"))
    event = (await listen(queue, claim.job_id, most=3))[-1]
    assert event.kind is JobState.QUEUED
    assert event.problem == Problem("worker-crashed", "SIGSEGV")


async def test_a_job_cancelled_before_it_ran_is_heard_from_beginning_to_end(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    listening = asyncio.create_task(listen(queue, job.job_id))
    await asyncio.sleep(0)
    await queue.cancel(job.job_id)
    heard = await asyncio.wait_for(listening, PATIENCE_SECONDS)
    assert [event.kind for event in heard] == [JobState.QUEUED, JobState.CANCELLED]


async def test_silence_is_filled_with_signs_of_life(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    events = EventReader(queue.door).events(job.job_id, idle_seconds=0.02)
    first = await anext(events)
    assert first is not None
    assert await anext(events) is None
    assert await anext(events) is None


async def test_what_is_no_event_id_is_refused(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    for after in ("x", "5", "5-0-1", "-1-0", "9" * 30 + "-0", "$", "5-0\n"):
        with pytest.raises(InputError) as caught:
            await anext(EventReader(queue.door).events(job.job_id, after))
        assert caught.value.code == "invalid-event-id"


async def test_an_unknown_job_has_no_events(queue: JobQueue) -> None:
    with pytest.raises(NotFoundError):
        await anext(EventReader(queue.door).events(new_job_id()))
