"""The worker's side of the queue: claim, beat, report, commit, fail, hand back, reclaim; and the roll call.

Every call names its claim; the script behind it does nothing unless the claim still holds the lease (attempt number
and consumer are the fencing token), so a worker that was frozen or cut off cannot publish, fail or prolong what another
runs.

In the roll call each worker says every few seconds what it does. No work depends on it: a job's lease is its own, and a
worker that cannot say anything works on. The gateway asks it whether anybody can run a model that is fitted to the
recording, before it takes a job for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import TypeAdapter

from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest
from divisi.queue.redis_door import MOST_BLOCKING_SECONDS, RedisDoor

# Attempts that ended because something we lean on was away (object store, model server): retried with growing delays
# for about half an hour, then a dead letter, because the job itself may be the cause.
MAX_DEFERRALS = 35
_LONGEST_DEFERRAL_SECONDS = 60.0

_NO_WORKER = Problem("no-worker-for-model", "No worker at work can fit models to recordings: it needs the extra torch.")


class LeaseAnswer(StrEnum):
    """What the queue says about a claim."""

    OK = "ok"
    LOST = "lost"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Claim:
    """One attempt at one job: the right to work on it while its lease lasts."""

    job: Job
    consumer: str

    @property
    def job_id(self) -> str:
        """Id of the job."""
        return self.job.job_id

    @property
    def attempt(self) -> int:
        """Number of this attempt: fencing token and name of the folder its stems go to."""
        return self.job.attempt


class WorkerSide:
    """What workers do with the queue."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def claim(self, consumer: str, wait_seconds: float = 0.0, *, can_fit: bool = True) -> Claim | None:
        """The next job for a worker that has none, waiting for one up to `wait_seconds` (at most 2).

        Args:
            consumer: a name that no other process uses or used. When the answer to an earlier claim under this name was
                lost, the same job is given again.
            can_fit: False for a worker without torch: jobs of fitted models are left to the others, at their places.
        """
        arguments = (consumer, int(self.door.options.batch_head_start_seconds * 1e6), "1" if can_fit else "0")
        for may_wait in (True, False):
            answer = await self.door.run("claim", *arguments)
            while answer[0] == "again":
                answer = await self.door.run("claim", *arguments)
            if answer[0] == "job":
                values = dict(zip(answer[2::2], answer[3::2], strict=True))
                return Claim(Job.from_hash(values), consumer)
            if may_wait and wait_seconds > 0:
                await self._wait_for_bell(answer[1], wait_seconds)
            else:
                break
        return None

    async def beat(self, claim: Claim) -> LeaseAnswer:
        """Prolongs the lease, or says that it is lost or the job cancelled. Due every third of a lease."""
        return LeaseAnswer(await self.door.run("beat", *_token(claim)))

    async def report(self, claim: Claim, progress: float, stage: str) -> LeaseAnswer:
        """Notes progress (0..1; a fall is ignored) and stage, and notifies listeners at each whole per cent."""
        return LeaseAnswer(await self.door.run("report", *_token(claim), f"{min(max(progress, 0.0), 1.0):.4f}", stage))

    async def commit(self, claim: Claim, manifest: Manifest) -> LeaseAnswer:
        """Publishes the manifest and ends the job, in one step; LOST when another attempt has taken over.

        May be repeated when its answer was lost.
        """
        figures = f"{manifest.model_id}|{manifest.duration_seconds:.3f}|{manifest.wall_seconds:.3f}"
        answer = await self.door.run("commit", *_token(claim), manifest.to_json(), self._retention_ms, figures)
        return _lease_answer(answer)

    async def fail(self, claim: Claim, problem: Problem, *, is_dead_letter: bool = False) -> LeaseAnswer:
        """Ends the job as failed. As a dead letter too when an operator may mend the cause and run it again."""
        flag = "1" if is_dead_letter else "0"
        return _lease_answer(await self.door.run("fail", *_token(claim), problem.to_json(), self._retention_ms, flag))

    async def hand_back(self, claim: Claim, problem: Problem) -> LeaseAnswer:
        """Gives the job back at once, at its old place, without counting the attempt: the worker is shutting down."""
        return await self._give_back(claim, problem, "", 0, 0.0)

    async def defer(self, claim: Claim, problem: Problem) -> LeaseAnswer:
        """Gives the job back for a later time: something we lean on is away. Bounded by MAX_DEFERRALS."""
        deferrals = int(await self.door.ask(self.door.redis.hget(self.door.key("job", claim.job_id), "deferrals")) or 0)
        delay = min(2.0**deferrals, _LONGEST_DEFERRAL_SECONDS)
        return await self._give_back(claim, problem, "deferrals", MAX_DEFERRALS, delay)

    async def give_up_attempt(self, claim: Claim, problem: Problem) -> LeaseAnswer:
        """Gives the job back for another attempt after this one crashed; the last one makes it a dead letter."""
        return await self._give_back(claim, problem, "failures", self.door.options.max_attempts, 0.0)

    async def reclaim(self) -> tuple[int, int]:
        """Takes jobs from workers that fell silent for a lease; runs on a clock.

        Returns:
            How many were queued again, and how many became dead letters.
        """
        lease = self.door.options.lease_seconds
        server = await self.door.ask(self.door.redis.info("server"))
        if server["uptime_in_seconds"] < lease:
            return 0, 0  # Redis was away: every lease looks expired, though the workers may be well
        problem = Problem("worker-lost", f"The worker fell silent for more than {lease:g} s.", {"lease_seconds": lease})
        given_back, buried = await self.door.run(
            "reclaim",
            int(lease * 1000),
            self.door.options.max_attempts,
            problem.to_json(),
            self._retention_ms,
            int(self.door.options.fit_patience_seconds * 1000),
            _NO_WORKER.to_json(),
        )
        return given_back, buried

    async def take_turn(self, what: str, seconds: float) -> bool:
        """True for one caller within `seconds`: whose turn it is to do what one worker at a time should do."""
        turn, milliseconds = self.door.key("turn", what), max(1, int(seconds * 1000))
        return bool(await self.door.ask(self.door.redis.set(turn, "1", nx=True, px=milliseconds)))

    @property
    def _retention_ms(self) -> int:
        return int(self.door.options.retention_seconds * 1000)

    async def _give_back(
        self, claim: Claim, problem: Problem, tally: str, most: int, delay_seconds: float
    ) -> LeaseAnswer:
        answer = await self.door.run(
            "hand_back", *_token(claim), problem.to_json(), self._retention_ms, tally, most, int(delay_seconds * 1000)
        )
        return _lease_answer(answer)

    async def _wait_for_bell(self, after_id: str, seconds: float) -> None:
        blocking_seconds = min(seconds, MOST_BLOCKING_SECONDS)
        block_ms = max(1, int(blocking_seconds * 1000))
        xread = self.door.redis.xread({self.door.key("bell"): after_id}, count=1, block=block_ms)
        await self.door.ask(xread, blocking_seconds)


def _token(claim: Claim) -> tuple[str, int, str]:
    return claim.job_id, claim.attempt, claim.consumer


def _lease_answer(answer: str) -> LeaseAnswer:
    return {"stale": LeaseAnswer.LOST, "cancelled": LeaseAnswer.CANCELLED}.get(answer, LeaseAnswer.OK)


# A worker that has said nothing for this long is no longer listed.
FORGET_SECONDS = 60.0


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"  # its engine is not warm (yet)
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


@dataclass(frozen=True)
class WorkerStatus:
    """What one worker says of itself.

    Args:
        consumer: its name in the queue, unlike any other process's.
        engine, device: what runs the model, and where; None before the engine is warm.
        job_id: the job at hand.
        attempts: attempts ended since it started.
        started_at: Unix seconds.
        problem: why it is not ready.
        can_fit: True where it can run models that are fitted to the recording; None before the engine is warm.
        silent_seconds: since it said so, by Redis's clock.
    """

    consumer: str
    state: WorkerState
    started_at: float
    engine: str | None = None
    device: str | None = None
    job_id: str | None = None
    attempts: int = 0
    problem: str | None = None
    can_fit: bool | None = None
    silent_seconds: float = 0.0


_STATUS: TypeAdapter[WorkerStatus] = TypeAdapter(WorkerStatus)


class RollCall:
    """Workers announce themselves; whoever watches asks for all of them."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def announce(self, status: WorkerStatus) -> None:
        """Notes what a worker says of itself."""
        text = _STATUS.dump_json(status, exclude_defaults=True).decode()
        await self.door.run("announce", status.consumer, text, int(FORGET_SECONDS * 1000))

    async def sign_off(self, consumer: str) -> None:
        """Forgets a worker that stops."""
        await self.door.run("announce", consumer, "", int(FORGET_SECONDS * 1000))

    async def workers(self) -> tuple[WorkerStatus, ...]:
        """All workers that were seen within a minute, by name."""
        answer = await self.door.run("roll_call", int(FORGET_SECONDS * 1000))
        seen = [
            replace(_STATUS.validate_json(text), silent_seconds=int(ago_ms) / 1000)
            for text, ago_ms in zip(answer[::2], answer[1::2], strict=True)
        ]
        return tuple(sorted(seen, key=lambda status: status.consumer))
