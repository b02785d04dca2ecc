from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis
from tests.patience import PATIENCE_SECONDS

from divisi.contract.job import Job, JobState, Problem
from divisi.contract.manifest import Manifest
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.queue.watching import Figures
from divisi.queue.worker_side import MAX_DEFERRALS, Claim, LeaseAnswer, RollCall, WorkerSide, WorkerState, WorkerStatus

pytestmark = pytest.mark.anyio

MakeJob = Callable[..., Job]
ManifestOf = Callable[[Claim], Manifest]
LetLeaseRunOut = Callable[[JobQueue, Claim], None]
PROBLEM = Problem("worker-crashed", "The process died (SIGKILL).")
FOR_EVER = 2 * PATIENCE_SECONDS


@pytest.fixture
def only_the_bell_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for a job does so for longer than any test."""
    monkeypatch.setattr("divisi.queue.redis_door._SILENT_SECONDS", 2 * FOR_EVER)
    monkeypatch.setattr("divisi.queue.worker_side.MOST_BLOCKING_SECONDS", FOR_EVER)


async def submit_and_claim(queue: JobQueue, job: Job, consumer: str = "worker") -> Claim:
    await queue.submit(job)
    return await claim_one(queue, consumer)


async def claim_one(queue: JobQueue, consumer: str = "worker") -> Claim:
    claim = await WorkerSide(queue.door).claim(consumer)
    assert claim is not None
    return claim


# --- claim ---


async def test_a_worker_that_cannot_fit_leaves_such_jobs_to_others_at_their_places(
    queue: JobQueue, make_job: MakeJob
) -> None:
    figures = Figures(queue.door)
    worker_side = WorkerSide(queue.door)
    first, plain, second = make_job(fit={}), make_job(), make_job(fit={"seed": 1})
    for job in (first, plain, second):
        await queue.submit(job)
    claim = await worker_side.claim("without torch", can_fit=False)
    assert claim is not None
    assert claim.job_id == plain.job_id
    assert await worker_side.claim("another without", can_fit=False) is None
    waiting = await queue.get(first.job_id)
    assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 0)
    assert await figures.position(first.job_id) == 0
    assert await figures.position(second.job_id) == 1
    assert [(await claim_one(queue, name)).job_id for name in ("a", "b")] == [first.job_id, second.job_id]


@pytest.mark.usefixtures("only_the_bell_wakes")
async def test_a_fit_that_was_passed_over_wakes_a_worker_that_can(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    job = make_job(fit={})
    await queue.submit(job)
    assert await worker_side.claim("without torch", can_fit=False) is None
    waiting = asyncio.create_task(worker_side.claim("with torch", wait_seconds=FOR_EVER))
    claim = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert claim is not None
    assert claim.job_id == job.job_id


async def test_a_fit_that_is_given_back_may_be_passed_over_again(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job(fit={}))
    await worker_side.hand_back(claim, PROBLEM)
    assert await worker_side.claim("without torch", can_fit=False) is None
    assert (await claim_one(queue, "with torch")).attempt == 2


async def test_a_fit_that_is_cancelled_while_passed_over_is_gone(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    job = make_job(fit={})
    await queue.submit(job)
    assert await worker_side.claim("without torch", can_fit=False) is None
    await queue.cancel(job.job_id)
    assert await worker_side.claim("with torch") is None
    assert (await Figures(queue.door).depth())[Lane.INTERACTIVE].length == 0


@pytest.mark.parametrize(("can_fit", "ends"), [(False, True), (True, False), (None, False)])
async def test_a_fit_that_no_worker_can_do_becomes_a_dead_letter_after_a_while(
    can_fit: bool | None, ends: bool, queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    worker_side = WorkerSide(queue.door)
    await RollCall(queue.door).announce(WorkerStatus("one", WorkerState.IDLE, 1.8e9, can_fit=can_fit))
    job = make_job(fit={})
    await queue.submit(job)
    assert await worker_side.claim("one", can_fit=False) is None
    assert await worker_side.reclaim() == (0, 0)
    stream, entry = queue.door.stream(Lane(job.lane)), raw.hget(queue.door.key("job", job.job_id), "entry")
    (passed_over,) = raw.xpending_range(stream, "workers", entry, entry, 1)
    idle_ms = int(2000 * queue.door.options.fit_patience_seconds)  # its time is over
    raw.xclaim(stream, "workers", passed_over["consumer"], 0, [entry], idle=idle_ms, justid=True)
    assert await worker_side.reclaim() == (0, int(ends))
    found = await queue.get(job.job_id)
    assert found.state == (JobState.FAILED if ends else JobState.QUEUED)
    if ends:
        assert found.problem is not None
        assert found.problem.code == "no-worker-for-model"
        await queue.retry_dead_letter(job.job_id)
    assert (await claim_one(queue, "with torch")).job_id == job.job_id


async def test_a_claimed_job_runs_as_its_first_attempt(queue: JobQueue, make_job: MakeJob) -> None:
    claim = await submit_and_claim(queue, make_job())
    assert claim.attempt == 1
    running = await queue.get(claim.job_id)
    assert (running.state, running.attempt) == (JobState.RUNNING, 1)
    assert running.started_at is not None


async def test_jobs_of_a_lane_are_claimed_in_order_and_each_once(queue: JobQueue, make_job: MakeJob) -> None:
    jobs = [make_job() for _ in range(20)]
    for job in jobs:
        await queue.submit(job)
    claims = [await claim_one(queue, f"worker-{number}") for number in range(20)]
    assert [claim.job_id for claim in claims] == [job.job_id for job in jobs]
    assert await WorkerSide(queue.door).claim("worker") is None


@pytest.mark.usefixtures("only_the_bell_wakes")
async def test_a_waiting_worker_wakes_for_a_new_job(queue: JobQueue, make_job: MakeJob) -> None:
    waiting = asyncio.create_task(WorkerSide(queue.door).claim("worker", wait_seconds=FOR_EVER))
    await asyncio.sleep(0)  # lets it begin; whichever comes first, it must get the job
    job = make_job()
    await queue.submit(job)
    claim = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert claim is not None
    assert claim.job_id == job.job_id


async def test_a_job_sent_before_the_first_worker_is_not_lost(redis_url: str, make_job: MakeJob) -> None:
    gateway = JobQueue(RedisDoor(redis_url))
    await gateway.submit(make_job())  # no group yet
    await gateway.door.close()
    async with RedisDoor(redis_url) as door:
        queue = JobQueue(door)
        assert await WorkerSide(queue.door).claim("worker") is not None


async def test_a_claim_whose_answer_was_lost_is_given_again_to_the_same_worker(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    unheard = await submit_and_claim(queue, make_job())
    again = await claim_one(queue)
    assert (again.job_id, again.attempt) == (unheard.job_id, 2)
    assert await worker_side.commit(unheard, manifest_of(unheard)) is LeaseAnswer.LOST
    assert await worker_side.commit(again, manifest_of(again)) is LeaseAnswer.OK


async def test_interactive_goes_before_batch(queue: JobQueue, make_job: MakeJob) -> None:
    batch, interactive = make_job(lane=Lane.BATCH), make_job()
    await queue.submit(batch)
    await queue.submit(interactive)
    assert [(await claim_one(queue, name)).job_id for name in "ab"] == [interactive.job_id, batch.job_id]


async def test_a_batch_job_that_waited_past_the_head_start_goes_first(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    batch, interactive = make_job(lane=Lane.BATCH), make_job()
    await queue.submit(batch)
    await queue.submit(interactive)
    head_start_us = 1e6 * (queue.door.options.batch_head_start_seconds + 60)
    raw.zincrby(queue.door.key("waiting", "batch"), -head_start_us, batch.job_id)
    assert [(await claim_one(queue, name)).job_id for name in "ab"] == [batch.job_id, interactive.job_id]


# --- lease and fence ---


async def test_a_beat_prolongs_the_lease(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob, let_lease_run_out: LetLeaseRunOut
) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    let_lease_run_out(queue, claim)
    assert await worker_side.beat(claim) is LeaseAnswer.OK
    assert await worker_side.reclaim() == (0, 0)
    (pending,) = raw.xpending_range(queue.door.stream(Lane.INTERACTIVE), "workers", "-", "+", 10)
    assert pending["times_delivered"] == 1  # a beat is no delivery


async def test_reclaim_leaves_live_leases_alone(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    assert await worker_side.reclaim() == (0, 0)
    assert await worker_side.beat(claim) is LeaseAnswer.OK


async def test_a_silent_worker_loses_its_job_and_can_do_nothing_more_to_it(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf, let_lease_run_out: LetLeaseRunOut
) -> None:
    worker_side = WorkerSide(queue.door)
    frozen = await submit_and_claim(queue, make_job(), "frozen")
    let_lease_run_out(queue, frozen)
    assert await worker_side.reclaim() == (1, 0)

    async def everything_a_zombie_could_try() -> list[LeaseAnswer]:
        return [
            await worker_side.commit(frozen, manifest_of(frozen)),
            await worker_side.beat(frozen),
            await worker_side.report(frozen, 0.9, "separating"),
            await worker_side.fail(frozen, PROBLEM),
            await worker_side.hand_back(frozen, PROBLEM),
            await worker_side.defer(frozen, PROBLEM),
            await worker_side.give_up_attempt(frozen, PROBLEM),
        ]

    assert set(await everything_a_zombie_could_try()) == {LeaseAnswer.LOST}  # while the job waits
    second = await claim_one(queue, "second")
    assert second.attempt == 2
    assert set(await everything_a_zombie_could_try()) == {LeaseAnswer.LOST}  # while another runs it
    assert await worker_side.beat(second) is LeaseAnswer.OK
    assert await worker_side.commit(second, manifest_of(second)) is LeaseAnswer.OK
    assert set(await everything_a_zombie_could_try()) == {LeaseAnswer.LOST}  # after the end
    done = await queue.get(frozen.job_id)
    assert done.manifest is not None
    assert done.manifest.attempt == 2
    counters = await Figures(queue.door).counters()
    assert (counters["stale_commits"], counters["lost_leases"], counters["succeeded"]) == (3, 1, 1)


async def test_a_token_counts_only_with_the_worker_it_was_given_to(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    impostor = Claim(claim.job, "other")  # as after a loss of Redis's tail: the same number given twice
    assert await worker_side.commit(impostor, manifest_of(impostor)) is LeaseAnswer.LOST
    assert await worker_side.commit(claim, manifest_of(claim)) is LeaseAnswer.OK


async def test_a_commit_may_be_repeated_when_its_answer_was_lost(
    queue: JobQueue, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    claim = await submit_and_claim(queue, make_job())
    answers = [await WorkerSide(queue.door).commit(claim, manifest_of(claim)) for _ in range(3)]
    assert answers == [LeaseAnswer.OK] * 3
    assert (await Figures(queue.door).counters())["succeeded"] == 1


async def test_a_commit_publishes_the_manifest_and_leaves_no_entry(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    claim = await submit_and_claim(queue, make_job())
    await WorkerSide(queue.door).commit(claim, manifest_of(claim))
    done = await queue.get(claim.job_id)
    assert (done.state, done.progress, done.manifest) == (JobState.SUCCEEDED, 1.0, manifest_of(claim))
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0
    assert raw.xpending(queue.door.stream(Lane.INTERACTIVE), "workers")["pending"] == 0


async def test_a_cancelled_job_tells_its_worker_and_refuses_its_commit(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    assert (await queue.cancel(claim.job_id)).state is JobState.CANCELLED
    assert await worker_side.beat(claim) is LeaseAnswer.CANCELLED
    assert await worker_side.report(claim, 0.5, "separating") is LeaseAnswer.CANCELLED
    assert await worker_side.commit(claim, manifest_of(claim)) is LeaseAnswer.CANCELLED
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0
    await queue.delete(claim.job_id)
    assert await worker_side.beat(claim) is LeaseAnswer.LOST


# --- attempts ---


async def test_crashed_attempts_are_capped(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    await queue.submit(make_job())
    for attempt in range(1, queue.door.options.max_attempts + 1):
        claim = await claim_one(queue)
        assert claim.attempt == attempt
        assert await WorkerSide(queue.door).give_up_attempt(claim, PROBLEM) is LeaseAnswer.OK
    assert (await queue.get(claim.job_id)).state is JobState.FAILED
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0


async def test_lost_leases_count_as_attempts(
    queue: JobQueue, make_job: MakeJob, let_lease_run_out: LetLeaseRunOut
) -> None:
    await queue.submit(make_job())
    for attempt in range(1, queue.door.options.max_attempts + 1):
        claim = await claim_one(queue, f"worker-{attempt}")
        let_lease_run_out(queue, claim)
        is_last = attempt == queue.door.options.max_attempts
        assert await WorkerSide(queue.door).reclaim() == ((0, 1) if is_last else (1, 0))
    failed = await queue.get(claim.job_id)
    assert failed.state is JobState.FAILED
    assert failed.problem is not None
    assert failed.problem.code == "worker-lost"


async def test_handing_back_costs_no_attempt_and_keeps_the_place(queue: JobQueue, make_job: MakeJob) -> None:
    first, second = make_job(), make_job()
    await queue.submit(first)
    await queue.submit(second)
    for number in range(10):
        claim = await claim_one(queue, f"worker-{number}")
        assert claim.job_id == first.job_id
        await WorkerSide(queue.door).hand_back(claim, Problem("worker-stopped", "The worker was stopped."))
    assert (await queue.get(first.job_id)).state is JobState.QUEUED
    assert await Figures(queue.door).position(first.job_id) == 0


@pytest.mark.usefixtures("only_the_bell_wakes")
async def test_a_handed_back_job_wakes_a_waiting_worker(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    waiting = asyncio.create_task(worker_side.claim("other", wait_seconds=FOR_EVER))
    await asyncio.sleep(0)
    await worker_side.hand_back(claim, PROBLEM)
    again = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert again is not None
    assert (again.job_id, again.attempt) == (claim.job_id, 2)


async def test_a_deferred_job_waits_its_time_and_then_goes_first(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    later = make_job()
    await queue.submit(later)
    await worker_side.defer(claim, Problem("store-unavailable", "away"))
    assert (await claim_one(queue, "b")).job_id == later.job_id
    assert await worker_side.claim("a") is None
    (due,) = raw.zrange(queue.door.key("deferred"), 0, -1)
    raw.zadd(queue.door.key("deferred"), {due: 1})  # its time has come
    assert (await claim_one(queue, "a")).job_id == claim.job_id


async def test_deferrals_are_capped_too(queue: JobQueue, raw: redis.Redis, make_job: MakeJob) -> None:
    claim = await submit_and_claim(queue, make_job())
    raw.hset(queue.door.key("job", claim.job_id), "deferrals", MAX_DEFERRALS - 1)
    await WorkerSide(queue.door).defer(claim, Problem("store-unavailable", "away"))
    assert (await queue.get(claim.job_id)).state is JobState.FAILED
    assert (await queue.dead_letters())[0].problem.code == "store-unavailable"


async def test_a_cancelled_deferred_job_does_not_come_back(
    queue: JobQueue, raw: redis.Redis, make_job: MakeJob
) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    await worker_side.defer(claim, PROBLEM)
    await queue.cancel(claim.job_id)
    (due,) = raw.zrange(queue.door.key("deferred"), 0, -1)
    raw.zadd(queue.door.key("deferred"), {due: 1})
    assert await worker_side.claim("worker") is None
    assert raw.xlen(queue.door.stream(Lane.INTERACTIVE)) == 0


async def test_a_failure_for_good_is_no_dead_letter_unless_asked(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    bad_input = await submit_and_claim(queue, make_job())
    await worker_side.fail(bad_input, Problem("undecodable", "truncated"))
    bad_model = await submit_and_claim(queue, make_job())
    await worker_side.fail(bad_model, Problem("damaged-bundle", "checksum"), is_dead_letter=True)
    assert [letter.job_id for letter in await queue.dead_letters()] == [bad_model.job_id]
    for claim in (bad_input, bad_model):
        assert (await queue.get(claim.job_id)).state is JobState.FAILED


async def test_reclaim_gives_workers_a_lease_of_time_after_redis_came_up(
    redis_url: str, raw: redis.Redis, make_job: MakeJob, let_lease_run_out: LetLeaseRunOut
) -> None:
    forever = raw.info("server")["uptime_in_seconds"] + 3600
    async with RedisDoor(redis_url, QueueOptions(lease_seconds=forever)) as door:
        queue = JobQueue(door)
        claim = await submit_and_claim(queue, make_job())
        raw.xclaim(queue.door.stream(Lane.INTERACTIVE), "workers", "worker", 0, ["0-1"], force=True, justid=True)
        entry = raw.hget(queue.door.key("job", claim.job_id), "entry")
        raw.xclaim(
            queue.door.stream(Lane.INTERACTIVE), "workers", "worker", 0, [entry], idle=2000 * forever, justid=True
        )
        assert await WorkerSide(queue.door).reclaim() == (0, 0)


async def test_names_of_workers_long_gone_are_forgotten(
    queue: JobQueue, raw: redis.Redis, redis_url: str, make_job: MakeJob, manifest_of: ManifestOf
) -> None:
    claim = await submit_and_claim(queue, make_job(), "gone")
    await WorkerSide(queue.door).commit(claim, manifest_of(claim))
    async with RedisDoor(redis_url, QueueOptions(lease_seconds=0.001)) as door:
        hasty = JobQueue(door)  # 100 of its leases are 0.1 s
        while any(
            consumer["name"] == "gone"
            for consumer in raw.xinfo_consumers(queue.door.stream(Lane.INTERACTIVE), "workers")
        ):
            await WorkerSide(hasty.door).reclaim()
    assert raw.exists(queue.door.stream(Lane.INTERACTIVE))


# --- progress ---


async def test_progress_never_falls_even_across_attempts(queue: JobQueue, make_job: MakeJob) -> None:
    worker_side = WorkerSide(queue.door)
    claim = await submit_and_claim(queue, make_job())
    seen = []
    for share in (0.2, 0.1, 0.5, 0.4):
        await worker_side.report(claim, share, "separating")
        seen.append((await queue.get(claim.job_id)).progress)
    await worker_side.give_up_attempt(claim, PROBLEM)
    claim = await claim_one(queue)
    await worker_side.report(claim, 0.3, "separating")
    seen.append((await queue.get(claim.job_id)).progress)
    assert seen == [0.2, 0.2, 0.5, 0.5, 0.5]


async def test_a_turn_is_given_to_one_worker_at_a_time(queue: JobQueue) -> None:
    worker_side = WorkerSide(queue.door)
    turns = await asyncio.gather(*[worker_side.take_turn("sweep", 60) for _ in range(10)])
    assert sum(turns) == 1
    assert await worker_side.take_turn("other", 60)
