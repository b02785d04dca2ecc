from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import redis

from divisi.contract.errors import ConflictError, InputError, NotFoundError, UnavailableError
from divisi.contract.job import Job, JobState, Problem, new_job_id
from divisi.contract.manifest import Manifest
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.queue.watching import Figures
from divisi.queue.worker_side import Claim, WorkerSide

pytestmark = pytest.mark.anyio

MakeJob = Callable[..., Job]
ManifestOf = Callable[[Claim], Manifest]


async def succeed(queue: JobQueue, manifest_of: ManifestOf) -> None:
    """Does the job that is next."""
    worker_side = WorkerSide(queue.door)
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.commit(claim, manifest_of(claim))


async def test_a_submitted_job_is_found_as_it_was_asked(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job(stems=("alto",), lane=Lane.BATCH)
    assert (await queue.submit(job)).job_ids == (job.job_id,)
    assert await queue.get(job.job_id) == job


async def test_an_unknown_job_is_not_found(queue: JobQueue) -> None:
    with pytest.raises(NotFoundError) as caught:
        await queue.get(new_job_id())
    assert caught.value.code == "unknown-job"


async def test_submitting_again_changes_nothing(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    await queue.submit(job)
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 1
    assert (await Figures(queue.door).counters())["accepted"] == 1


async def test_submitting_an_ended_job_again_does_not_revive_it(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    job = make_job()
    await queue.submit(job)
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.commit(claim, manifest_of(claim))
    await queue.submit(job)
    assert (await queue.get(job.job_id)).state is JobState.SUCCEEDED
    assert await worker_side.claim("worker") is None


async def test_an_accepted_job_that_redis_lost_can_be_submitted_from_its_record(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    job = make_job(idempotency_key="key", fingerprint="print")
    await queue.submit(job)
    raw.flushall()
    await queue.submit(Job.from_json(job.to_json()))
    claim = await WorkerSide(queue.door).claim("worker")
    assert claim is not None
    assert claim.job_id == job.job_id
    assert (await queue.submit(make_job(idempotency_key="key", fingerprint="print"))).is_replay


async def test_jobs_of_one_upload_are_accepted_all_or_none(redis_url: str, make_job: MakeJob) -> None:
    async with RedisDoor(redis_url, QueueOptions(max_queued_jobs=3)) as door:
        queue = JobQueue(door)
        first = (make_job(), make_job())
        await queue.submit(*first)
        with pytest.raises(UnavailableError) as caught:
            await queue.submit(make_job(), make_job())
        assert caught.value.code == "queue-full"
        assert caught.value.facts["limit"] == 3
        assert len((await queue.list()).jobs) == 2


async def test_cancelled_jobs_leave_room_in_the_queue(redis_url: str, make_job: MakeJob) -> None:
    async with RedisDoor(redis_url, QueueOptions(max_queued_jobs=1)) as door:
        queue = JobQueue(door)
        job = make_job()
        await queue.submit(job)
        await queue.cancel(job.job_id)
        await queue.submit(make_job())


# --- idempotency keys ---


async def test_the_same_key_and_content_replays_the_accepted_jobs(queue: JobQueue, make_job: MakeJob) -> None:
    first = [make_job(idempotency_key="k", fingerprint="f"), make_job(idempotency_key="k", fingerprint="f")]
    accepted = await queue.submit(*first)
    again = await queue.submit(make_job(idempotency_key="k", fingerprint="f"))
    assert again.is_replay
    assert not accepted.is_replay
    assert again.job_ids == accepted.job_ids == tuple(job.job_id for job in first)


async def test_the_same_key_with_other_content_is_refused(queue: JobQueue, make_job: MakeJob) -> None:
    await queue.submit(make_job(idempotency_key="k", fingerprint="f"))
    with pytest.raises(ConflictError) as caught:
        await queue.submit(make_job(idempotency_key="k", fingerprint="other"))
    assert caught.value.code == "idempotency-key-reused"


async def test_a_key_is_held_while_its_upload_is_under_way(queue: JobQueue, make_job: MakeJob) -> None:
    reservation = await queue.reserve_idempotency_key("k")
    with pytest.raises(ConflictError) as caught:
        await queue.reserve_idempotency_key("k")
    assert caught.value.code == "idempotency-key-in-flight"
    with pytest.raises(ConflictError) as caught:
        await queue.submit(make_job(idempotency_key="k", fingerprint="f"))
    assert caught.value.code == "idempotency-key-in-flight"
    job = make_job(idempotency_key="k", fingerprint="f")
    await queue.submit(job, reservation=reservation)
    assert (await queue.reserve_idempotency_key("k")).job_ids == (job.job_id,)


async def test_a_released_key_is_free_again(queue: JobQueue) -> None:
    reservation = await queue.reserve_idempotency_key("k")
    await queue.release_idempotency_key(reservation)
    other = await queue.reserve_idempotency_key("k")
    await queue.release_idempotency_key(reservation)  # a late release does not take it from its new holder
    with pytest.raises(ConflictError):
        await queue.reserve_idempotency_key("k")
    assert other.token != reservation.token


async def test_a_reservation_ends_by_itself_unless_prolonged(queue: JobQueue, raw: redis.Redis) -> None:
    reservation = await queue.reserve_idempotency_key("k", seconds=50)
    (name,) = raw.keys(queue.door.key("idempotency", "*"))
    assert 49_000 < raw.pttl(name) <= 50_000
    await queue.reserve_idempotency_key("k", seconds=100, prolong=reservation)
    assert 99_000 < raw.pttl(name) <= 100_000


async def test_a_key_lives_for_a_day(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    await queue.submit(make_job(idempotency_key="k", fingerprint="f"))
    (name,) = raw.keys(queue.door.key("idempotency", "*"))
    assert 86_390 < raw.ttl(name) <= 86_400


async def test_of_two_hundred_submits_with_one_key_exactly_one_job_comes(queue: JobQueue, make_job: MakeJob) -> None:
    jobs = [make_job(idempotency_key="k", fingerprint="f") for _ in range(200)]
    submissions = await asyncio.gather(*[queue.submit(job) for job in jobs])
    assert len({submission.job_ids for submission in submissions}) == 1
    assert sum(not submission.is_replay for submission in submissions) == 1
    assert (await Figures(queue.door).counters())["accepted"] == 1


# --- listing ---


async def test_jobs_are_listed_newest_first_in_pages(queue: JobQueue, make_job: MakeJob) -> None:
    ids = [new_job_id(now=1_700_000_000 + second) for second in range(5)]
    for job_id in ids:
        await queue.submit(make_job(job_id=job_id))
    first = await queue.list(limit=3)
    assert [job.job_id for job in first.jobs] == ids[:1:-1]
    await queue.submit(make_job())  # a newer one does not shift the next page
    second = await queue.list(first.next_cursor, limit=3)
    assert [job.job_id for job in second.jobs] == ids[1::-1]
    assert second.next_cursor is None


async def test_a_foreign_cursor_is_refused(queue: JobQueue) -> None:
    for cursor in ("x", "", "[a", "01m8235v3j07hvk3ywhm798s3!"):
        with pytest.raises(InputError) as caught:
            await queue.list(cursor)
        assert caught.value.code == "invalid-cursor"


# --- cancel and delete ---


async def test_a_queued_job_is_cancelled_at_once_and_its_entry_dropped_in_passing(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    cancelled, other = make_job(), make_job()
    await queue.submit(cancelled)
    await queue.submit(other)
    assert (await queue.cancel(cancelled.job_id)).state is JobState.CANCELLED
    assert (
        raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 2
    )  # XDEL of an undelivered entry would blind the group's lag
    claim = await WorkerSide(queue.door).claim("worker")
    assert claim is not None
    assert claim.job_id == other.job_id
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 1


async def test_cancelling_an_ended_job_leaves_it_as_it_is(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.commit(claim, manifest_of(claim))
    assert (await queue.cancel(claim.job_id)).state is JobState.SUCCEEDED


async def test_an_unknown_job_cannot_be_cancelled(queue: JobQueue) -> None:
    with pytest.raises(NotFoundError):
        await queue.cancel(new_job_id())


async def test_delete_leaves_no_key_of_the_job(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job(idempotency_key="k", fingerprint="f"))
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.fail(claim, Problem("model-error", "broken"), is_dead_letter=True)
    assert await queue.delete(claim.job_id)
    left = {name for name in raw.scan_iter() if raw.type(name) != "string"}
    assert not {name for name in left if claim.job_id in name or "idempotency" in name}
    assert (
        raw.zcard(queue.door.key("index"))
        == raw.zcard(queue.door.key("expiry"))
        == raw.xlen(queue.door.key("dead"))
        == 0
    )
    assert not await queue.delete(claim.job_id)


async def test_a_job_that_has_not_ended_cannot_be_deleted(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    for _ in range(2):
        with pytest.raises(ConflictError) as caught:
            await queue.delete(job.job_id)
        assert caught.value.code == "job-not-ended"
        await WorkerSide(queue.door).claim("worker")


async def test_a_job_deleted_while_its_entry_waits_is_passed_over(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    job = make_job()
    await queue.submit(job)
    await queue.cancel(job.job_id)
    await queue.delete(job.job_id)
    assert await WorkerSide(queue.door).claim("worker") is None
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0


# --- retention ---


async def test_ended_jobs_expire_after_the_retention_and_running_ones_never(redis_url: str, make_job: MakeJob) -> None:
    async with RedisDoor(redis_url, QueueOptions(retention_seconds=100)) as door:
        queue = JobQueue(door)
        ended, running = make_job(), make_job(lane=Lane.BATCH)
        await queue.submit(ended)
        await queue.submit(running)
        await queue.cancel(ended.job_id)
        await WorkerSide(queue.door).claim("worker")
        now = time.time()
        expires_at = (await queue.get(ended.job_id)).expires_at
        assert expires_at is not None
        assert abs(expires_at - now - 100) < 5
        assert await queue.expired(now + 50) == ()
        assert await queue.expired(now + 1e9) == (ended.job_id,)


async def test_a_kept_job_expires_only_when_it_is_kept_no_longer(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    job = make_job()
    await queue.submit(job)
    with pytest.raises(ConflictError):
        await queue.keep(job.job_id)
    await succeed(queue, manifest_of)
    assert (await queue.keep(job.job_id)).is_kept
    assert await queue.expired(time.time() + 1e9) == ()
    let_go = await queue.keep(job.job_id, keeps=False)
    assert let_go.expires_at is not None
    assert await queue.expired(time.time() + 1e9) == (job.job_id,)


async def test_an_owner_keeps_so_many_jobs_and_an_erased_one_counts_no_more(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    jobs = [make_job(owner="key:one"), make_job(owner="key:one"), make_job(owner="key:two")]
    for job in jobs:
        await queue.submit(job)
        await succeed(queue, manifest_of)
    await queue.keep(jobs[0].job_id, most=1)
    await queue.keep(jobs[0].job_id, most=1)
    await queue.keep(jobs[2].job_id, most=1)
    with pytest.raises(ConflictError, match="1 are allowed"):
        await queue.keep(jobs[1].job_id, most=1)
    await queue.delete(jobs[0].job_id)
    assert (await queue.keep(jobs[1].job_id, most=1)).is_kept
    with pytest.raises(NotFoundError):
        await queue.keep(jobs[0].job_id)


# --- dead letters ---


async def test_a_dead_letter_says_why_and_can_be_run_again(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    problem = Problem("worker-crashed", "The process died (SIGSEGV).", {"cause": "SIGSEGV"})
    for _ in range(queue.door.options.max_attempts):
        claim = await worker_side.claim("worker")
        assert claim is not None
        await worker_side.give_up_attempt(claim, problem)
    job_id = claim.job_id
    failed = await queue.get(job_id)
    assert (failed.state, failed.problem) == (JobState.FAILED, problem)
    (letter,) = await queue.dead_letters()
    assert (letter.job_id, letter.attempts, letter.problem) == (job_id, queue.door.options.max_attempts, problem)
    assert await worker_side.claim("worker") is None

    await queue.retry_dead_letter(job_id)
    assert await Figures(queue.door).dead_count() == 0
    again = await queue.get(job_id)
    assert (again.state, again.problem, again.expires_at) == (JobState.QUEUED, None, None)
    for _ in range(queue.door.options.max_attempts):  # fresh attempts, rising numbers
        claim = await worker_side.claim("worker")
        assert claim is not None
        await worker_side.give_up_attempt(claim, problem)
    assert (await queue.dead_letters())[0].attempts == 2 * queue.door.options.max_attempts


async def test_only_dead_letters_can_be_retried(queue: JobQueue, make_job: MakeJob) -> None:
    job = make_job()
    await queue.submit(job)
    with pytest.raises(ConflictError) as caught:
        await queue.retry_dead_letter(job.job_id)
    assert caught.value.code == "not-a-dead-letter"
    with pytest.raises(NotFoundError):
        await queue.retry_dead_letter(new_job_id())


async def test_a_dead_letter_queued_again_can_be_cancelled_before_it_is_delivered(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.fail(claim, Problem("model-error", "broken"), is_dead_letter=True)
    await queue.retry_dead_letter(claim.job_id)
    await queue.cancel(claim.job_id)
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 1
    assert await worker_side.claim("worker") is None
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0


async def test_records_keep_apart_under_different_prefixes(redis_url: str, make_job: MakeJob) -> None:
    async with (
        RedisDoor(redis_url, QueueOptions(prefix="a")) as a,
        RedisDoor(redis_url, QueueOptions(prefix="{b}")) as b,
    ):
        one, other = JobQueue(a), JobQueue(b)
        job = make_job()
        await one.submit(job)
        assert await WorkerSide(b).claim("worker") is None
        await other.submit(job.model_copy(update={"model_id": "other"}))
        assert (await one.get(job.job_id)).model_id == job.model_id
