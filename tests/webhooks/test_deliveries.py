"""Webhook deliveries as a queue: made with the end of a job, one sender an attempt, taken up again when it dies."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from divisi.contract.job import Problem
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.worker_side import WorkerSide
from divisi.webhooks.deliveries import Deliveries, DeliveryAttempt, DeliveryStatus, DueDelivery, NothingDue

pytestmark = pytest.mark.anyio

URL = "https://choir.example/told"
FINE = DeliveryAttempt(1.0, 204, None, 0.1)
# Redis's clock is read in milliseconds.
ROUNDING_SECONDS = 0.01
REFUSED = DeliveryAttempt(1.0, 500, "answered 500", 0.1)


async def end_one(queue: JobQueue, make_job, **changes) -> str:
    job = make_job(webhook_url=URL, owner="key:a", **changes)
    await queue.submit(job)
    await queue.cancel(job.job_id)
    return job.job_id


async def due(queue: JobQueue, lease_seconds: float = 30.0) -> DueDelivery:
    claimed = await Deliveries(queue.door).claim_delivery(lease_seconds)
    assert isinstance(claimed, DueDelivery)
    return claimed


async def test_the_end_of_a_job_makes_a_delivery_only_where_one_is_asked_for(queue: JobQueue, make_job) -> None:
    silent = make_job()
    await queue.submit(silent)
    await queue.cancel(silent.job_id)
    assert isinstance(await Deliveries(queue.door).claim_delivery(30.0), NothingDue)
    job_id = await end_one(queue, make_job)
    claimed = await due(queue)
    assert (claimed.job.job_id, claimed.event, claimed.attempt) == (job_id, "cancelled", 1)
    assert claimed.delivery_id.startswith(f"msg_{job_id}_")


async def test_of_many_senders_one_gets_the_attempt(queue: JobQueue, make_job) -> None:
    await end_one(queue, make_job)
    claims = await asyncio.gather(*(Deliveries(queue.door).claim_delivery(30.0) for _ in range(20)))
    assert sum(isinstance(claim, DueDelivery) for claim in claims) == 1


async def test_a_delivered_one_is_not_due_again(queue: JobQueue, make_job) -> None:
    deliveries = Deliveries(queue.door)
    job_id = await end_one(queue, make_job)
    assert await deliveries.settle_delivery(await due(queue), FINE, DeliveryStatus.DELIVERED)
    [delivery] = await deliveries.deliveries(job_id)
    assert (delivery.status, delivery.attempts, delivery.next_at, delivery.log) == ("delivered", 1, None, (FINE,))
    assert await deliveries.claim_delivery(30.0) == NothingDue(None, (await deliveries.claim_delivery(30.0)).bell)


async def test_an_attempt_that_failed_is_due_again_later(queue: JobQueue, make_job) -> None:
    deliveries = Deliveries(queue.door)
    job_id = await end_one(queue, make_job)
    first = await due(queue)
    before = time.time()
    await deliveries.settle_delivery(first, REFUSED, DeliveryStatus.PENDING, retry_seconds=3000)
    waiting = await deliveries.claim_delivery(30.0)
    passed = time.time() - before
    assert isinstance(waiting, NothingDue)
    assert 3000 - passed - ROUNDING_SECONDS <= waiting.seconds <= 3000
    [delivery] = await deliveries.deliveries(job_id)
    assert 3000 - ROUNDING_SECONDS <= delivery.next_at - before <= 3000 + passed + ROUNDING_SECONDS
    assert delivery.log == (REFUSED,)


async def test_when_a_sender_dies_another_takes_over_and_the_first_can_settle_no_more(
    queue: JobQueue, make_job
) -> None:
    deliveries = Deliveries(queue.door)
    await end_one(queue, make_job)
    dead = await due(queue, lease_seconds=0.05)
    nothing = await deliveries.claim_delivery(30.0)
    while isinstance(nothing, NothingDue):
        await deliveries.wait_for_delivery(nothing)
        nothing = await deliveries.claim_delivery(30.0)
    assert (nothing.delivery_id, nothing.attempt) == (dead.delivery_id, 2)
    assert not await deliveries.settle_delivery(dead, FINE, DeliveryStatus.DELIVERED)
    assert await deliveries.settle_delivery(nothing, FINE, DeliveryStatus.DELIVERED)


async def test_the_end_of_a_job_rings_the_bell_that_senders_wait_for(queue: JobQueue, make_job, redis_url: str) -> None:
    deliveries = Deliveries(queue.door)
    nothing = await deliveries.claim_delivery(30.0)
    async with RedisDoor(redis_url) as door:
        other = JobQueue(door)
        waiting = asyncio.create_task(Deliveries(other.door).wait_for_delivery(nothing))
        await end_one(queue, make_job)
        await waiting
    await deliveries.settle_delivery(await due(queue), FINE, DeliveryStatus.DELIVERED)
    assert (await deliveries.claim_delivery(30.0)).bell > nothing.bell


async def test_a_410_switches_off_what_was_asked_before_it_and_nothing_later(
    queue: JobQueue, make_job, raw: redis.Redis
) -> None:
    deliveries = Deliveries(queue.door)
    first, second = await end_one(queue, make_job), await end_one(queue, make_job)
    for job_id in (first, second):  # before means in an earlier millisecond
        raw.hincrby(queue.door.key("job", job_id), "queued_at", -1000)
    gone = DeliveryAttempt(1.0, 410, "gone", 0.1)
    await deliveries.settle_delivery(await due(queue), gone, DeliveryStatus.DISABLED)
    assert isinstance(await deliveries.claim_delivery(30.0), NothingDue)
    assert [(await deliveries.deliveries(job_id))[0].status for job_id in (first, second)] == ["disabled", "disabled"]
    again = await end_one(queue, make_job)
    assert (await due(queue)).job.job_id == again


async def test_what_is_no_longer_so_is_not_told(queue: JobQueue, make_job) -> None:
    deliveries = Deliveries(queue.door)
    worker_side = WorkerSide(queue.door)
    job = make_job(webhook_url=URL)
    await queue.submit(job)
    claim = await worker_side.claim("worker-1")
    await worker_side.fail(claim, Problem("model-error", "broken"), is_dead_letter=True)
    await queue.retry_dead_letter(job.job_id)
    assert isinstance(await deliveries.claim_delivery(30.0), NothingDue)
    assert [delivery.status for delivery in await deliveries.deliveries(job.job_id)] == ["superseded"]


async def test_a_delivery_ends_with_its_jobs_record(queue: JobQueue, make_job, raw: redis.Redis) -> None:
    deliveries = Deliveries(queue.door)
    job_id = await end_one(queue, make_job)
    late = await due(queue)
    await queue.delete(job_id)
    assert not await deliveries.settle_delivery(late, REFUSED, DeliveryStatus.PENDING, 0)
    assert isinstance(await deliveries.claim_delivery(30.0), NothingDue)
    assert not [key for key in raw.scan_iter() if job_id in key]
