"""One attempt at one job: the child works, the lease is kept alive, and what comes first decides how the attempt ends.

Between supervisor.py, which claims, and the queue, which has the last word: nothing is published unless `commit` is
accepted, and every other end leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from divisi.contract.errors import UnavailableError
from divisi.contract.job import Problem
from divisi.contract.manifest import Manifest
from divisi.queue.worker_side import Claim, LeaseAnswer, WorkerSide
from divisi.settings import Settings
from divisi.telemetry import get_logger
from divisi.worker.child_process import ChildProcess
from divisi.worker.health import WorkerHealth
from divisi.worker.messages import Done, Failed, Fault, Progress, WorkFigures

log = get_logger(__name__)

# Progress is passed on, and a cancel noticed, at least this often.
TICK_SECONDS = 0.25
_LONGEST_BEAT_SECONDS = 1.0
_RETRY_SECONDS = 0.25


class Ending(StrEnum):
    """How an attempt ended; label of the worker's metrics."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    DEFERRED = "deferred"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Outcome:
    """What is to be told to the queue. `keeps_child`: the child is idle and well, and stays warm for the next job."""

    ending: Ending
    keeps_child: bool
    manifest: Manifest | None = None
    problem: Problem | None = None
    fault: Fault | None = None
    figures: WorkFigures | None = None


class Attempt:
    """Runs one claim. `run` finds the outcome, `settle` tells the queue."""

    def __init__(
        self, claim: Claim, child: ChildProcess, queue: WorkerSide, settings: Settings, health: WorkerHealth
    ) -> None:
        self._claim = claim
        self._child = child
        self._queue = queue
        self._settings = settings
        self._health = health
        self._progress = Progress(0.0, "starting")
        self._log = log.bind(job_id=claim.job_id, attempt=claim.attempt)

    async def run(self, drain_deadline: asyncio.Future[None]) -> Outcome:
        """Waits for the first of: the child's answer, the end of the lease, the time limit, the end of draining.

        The child must have been given the job. It may be busy still when this returns: see `Outcome.keeps_child`.
        """
        work = asyncio.create_task(self._hear_child())
        lease = asyncio.create_task(self._hold_lease())
        limit = self._settings.job_timeout_seconds
        try:
            ends: list[asyncio.Future[Any]] = [work, lease, drain_deadline]
            await asyncio.wait(ends, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            # The child's answer first: after a freeze both are there, and the queue, not we, decides who was late.
            if work.done():
                return work.result()
            if lease.done():
                ending = Ending.CANCELLED if lease.result() is LeaseAnswer.CANCELLED else Ending.LOST
                return Outcome(ending, keeps_child=False)
            if drain_deadline.done():
                return Outcome(Ending.HANDED_BACK, False, problem=Problem("worker-stopped", "The worker was stopped."))
            problem = Problem("job-timeout", f"The attempt took longer than {limit:g} s.", {"limit_seconds": limit})
            return Outcome(Ending.CRASHED, False, problem=problem)
        finally:
            for task in (work, lease):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def settle(self, outcome: Outcome, give_up: asyncio.Future[None]) -> Ending | None:
        """Tells the queue, again and again while Redis is away, until `give_up`; then the lease runs out by itself.

        Returns:
            How the attempt ended after all: LOST when the queue refused, because another attempt has taken over; None
            when that is not known.
        """
        while not give_up.done():
            self._health.pulse()
            try:
                answer = await self._tell(outcome)
            except UnavailableError as error:
                self._health.is_redis_away = True
                self._log.warning("the queue cannot be told", ending=outcome.ending, reason=error.message)
                await asyncio.wait([give_up], timeout=_RETRY_SECONDS)
                continue
            self._health.is_redis_away = False
            if answer is LeaseAnswer.OK:
                return outcome.ending
            return Ending.CANCELLED if answer is LeaseAnswer.CANCELLED else Ending.LOST
        return None

    async def _tell(self, outcome: Outcome) -> LeaseAnswer:
        claim, queue = self._claim, self._queue
        if outcome.manifest is not None:
            return await queue.commit(claim, outcome.manifest)
        if outcome.ending is Ending.LOST:
            return LeaseAnswer.LOST
        if outcome.ending is Ending.CANCELLED:
            return LeaseAnswer.CANCELLED
        assert outcome.problem is not None
        if outcome.ending is Ending.FAILED:
            return await queue.fail(claim, outcome.problem, is_dead_letter=outcome.fault is Fault.MODEL)
        if outcome.ending is Ending.DEFERRED:
            return await queue.defer(claim, outcome.problem)
        if outcome.ending is Ending.HANDED_BACK:
            return await queue.hand_back(claim, outcome.problem)
        return await queue.give_up_attempt(claim, outcome.problem)

    async def _hear_child(self) -> Outcome:
        while True:
            reply = await self._child.reply()
            if isinstance(reply, Progress):
                self._progress = reply
            elif isinstance(reply, Done):
                return Outcome(Ending.SUCCEEDED, True, manifest=reply.manifest, figures=reply.figures)
            elif isinstance(reply, Failed):
                return _failed(reply)
            else:
                await self._child.kill()  # it may have closed its pipe and live on
                cause = await self._child.cause_of_death()
                message = f"The process that held the engine died ({cause})."
                return Outcome(Ending.CRASHED, False, problem=Problem("worker-crashed", message, {"cause": cause}))

    async def _hold_lease(self) -> LeaseAnswer:
        """Beats and reports until the queue says that the job is no longer ours."""
        clock = asyncio.get_running_loop()
        beat_seconds = min(self._settings.lease_seconds / 3, _LONGEST_BEAT_SECONDS)
        beat_at, told = clock.time(), self._progress
        while True:
            await asyncio.sleep(min(TICK_SECONDS, beat_seconds))
            self._health.pulse()
            try:
                answer = LeaseAnswer.OK
                if clock.time() - beat_at >= beat_seconds:
                    answer = await self._queue.beat(self._claim)
                    beat_at = clock.time()
                elif self._progress != told:
                    told = self._progress
                    answer = await self._queue.report(self._claim, told.progress, told.stage)
                self._health.is_redis_away = False
            except UnavailableError:
                # While Redis is away nobody can take the job from us; go on and let the fence decide.
                self._health.is_redis_away = True
                continue
            if answer is not LeaseAnswer.OK:
                return answer


def _failed(reply: Failed) -> Outcome:
    if reply.fault is Fault.UNAVAILABLE:
        return Outcome(Ending.DEFERRED, True, problem=reply.problem, fault=reply.fault, figures=reply.figures)
    if reply.fault is Fault.UNEXPECTED:
        return Outcome(Ending.CRASHED, False, problem=reply.problem, fault=reply.fault, figures=reply.figures)
    return Outcome(Ending.FAILED, True, problem=reply.problem, fault=reply.fault, figures=reply.figures)
