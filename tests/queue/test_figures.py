from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from divisi.contract.job import Job, Problem, new_job_id
from divisi.contract.manifest import Manifest
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import Figures
from divisi.queue.worker_side import Claim, WorkerSide

pytestmark = pytest.mark.anyio

MakeJob = Callable[..., Job]
ManifestOf = Callable[[Claim], Manifest]


async def test_position_is_the_number_of_jobs_that_go_before(queue: JobQueue, make_job: MakeJob) -> None:
    figures = Figures(queue.door)
    batch = [make_job(lane=Lane.BATCH) for _ in range(2)]
    interactive = [make_job() for _ in range(3)]
    for job in (*batch, *interactive):
        await queue.submit(job)
    claimed_in_this_order = [*interactive, *batch]
    assert [await figures.position(job.job_id) for job in claimed_in_this_order] == [0, 1, 2, 3, 4]
    for number, job in enumerate(claimed_in_this_order):
        claim = await WorkerSide(queue.door).claim(f"worker-{number}")
        assert claim is not None
        assert claim.job_id == job.job_id
        assert await figures.position(job.job_id) is None


async def test_an_aged_batch_job_counts_as_being_before_interactive_ones(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    figures = Figures(queue.door)
    batch, interactive = make_job(lane=Lane.BATCH), make_job()
    await queue.submit(batch)
    await queue.submit(interactive)
    head_start_us = 1e6 * (queue.door.options.batch_head_start_seconds + 60)
    raw.zincrby(queue.door.key("waiting", "batch"), -head_start_us, batch.job_id)
    assert (await figures.position(batch.job_id), await figures.position(interactive.job_id)) == (0, 1)


async def test_an_unknown_job_has_no_position(queue: JobQueue) -> None:
    assert await Figures(queue.door).position(new_job_id()) is None


async def test_nothing_is_estimated_before_anything_has_finished(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    assert await Figures(queue.door).eta_seconds(job) is None


async def test_the_estimate_follows_recent_jobs_position_and_progress(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    # The finished job: 10 s of audio took 1 s.
    figures = Figures(queue.door)
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.commit(claim, manifest_of(claim))

    running, ahead, behind = make_job(), make_job(), make_job()
    for job in (running, ahead, behind):
        await queue.submit(job)
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.report(claim, 0.75, "separating")
    assert await figures.eta_seconds(await queue.get(running.job_id)) == pytest.approx(0.25)
    assert await figures.eta_seconds(await queue.get(ahead.job_id)) == pytest.approx(1.0 + 0.5)
    assert await figures.eta_seconds(await queue.get(behind.job_id)) == pytest.approx(1.0 + 1.0 + 0.5)
    await queue.cancel(running.job_id)
    assert await figures.eta_seconds(await queue.get(running.job_id)) is None


async def test_depth_counts_each_lane(queue: JobQueue, make_job: MakeJob) -> None:
    figures = Figures(queue.door)
    worker_side = WorkerSide(queue.door)
    for job in (make_job(), make_job(), make_job(lane=Lane.BATCH)):
        await queue.submit(job)
    claim = await worker_side.claim("worker")
    assert claim is not None
    depth = await figures.depth()
    interactive, batch = depth[Lane.INTERACTIVE], depth[Lane.BATCH]
    assert (interactive.waiting, interactive.running, interactive.length) == (1, 1, 2)
    assert (batch.waiting, batch.running, batch.length) == (1, 0, 1)
    await worker_side.hand_back(claim, Problem("worker-stopped", "stopped"))
    interactive = (await figures.depth())[Lane.INTERACTIVE]
    assert (interactive.waiting, interactive.running, interactive.length) == (2, 0, 2)


async def test_the_age_of_the_oldest_waiting_job_is_told(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    figures = Figures(queue.door)
    job, before = make_job(), time.monotonic()
    await queue.submit(job)
    raw.zincrby(queue.door.key("waiting", "interactive"), -90e6, job.job_id)
    assert 90 <= (await figures.depth())[Lane.INTERACTIVE].oldest_waiting_seconds <= 90.1 + time.monotonic() - before
    assert (await figures.depth())[Lane.BATCH].oldest_waiting_seconds == 0


async def test_a_redis_that_forgot_everything_has_depth_zero(queue: JobQueue, raw: redis.Redis) -> None:
    raw.flushall()
    assert {lane.length for lane in (await Figures(queue.door).depth()).values()} == {0}
