"""For whoever watches the queue: position, estimate, depth, counts, and who works.

Each read costs O(log n) in the queue's length. The one thing written is the roll call: what each worker says of itself
every few seconds. No work depends on it: a job's lease is its own, and a worker that cannot say anything works on. The
gateway asks it whether anybody can run a model that is fitted to the recording, before it takes a job for one.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import TypeAdapter

from divisi.contract.job import Job, JobState
from divisi.contract.request import Lane
from divisi.queue.redis_door import GROUP, NoGroupError, RedisDoor

# Consumers of the group that stand for nobody, see queue/scripts/shared.lua.
_NOBODY = frozenset({"returned", "deferred", "fits"})

# What the scripts count, over all workers and gateways, for as long as Redis remembers.
COUNTERS = {
    "accepted": "Jobs accepted.",
    "succeeded": "Jobs that ended with stems.",
    "failed": "Jobs that failed.",
    "cancelled": "Jobs cancelled by their callers.",
    "claims": "Attempts begun: a worker took a job.",
    "handed_back": "Attempts given back: the worker was stopped, the attempt crashed, or a service was away.",
    "lost_leases": "Leases that ran out because their worker fell silent.",
    "reclaimed": "Jobs queued again after a lost lease.",
    "dead_letters": "Jobs that became dead letters.",
    "retried": "Dead letters queued again by an operator.",
    "stale_beats": "Beats refused because another attempt had taken over.",
    "stale_commits": "Commits refused because another attempt had taken over.",
}


@dataclass(frozen=True)
class LaneDepth:
    """How full a lane is. `length` is the stream's, which autoscaling reads: it counts the running jobs too."""

    waiting: int
    running: int
    length: int
    oldest_waiting_seconds: float


class Figures:
    """What the queue can say about itself."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def position(self, job_id: str) -> int | None:
        """Number of jobs that will be started before this one (0 = next); None when it does not wait."""
        lane_name = await self.door.ask(self.door.redis.hget(self.door.key("job", job_id), "lane"))
        if lane_name is None:
            return None
        lane = Lane(lane_name)
        other = Lane.BATCH if lane is Lane.INTERACTIVE else Lane.INTERACTIVE
        head_start_us = self.door.options.batch_head_start_seconds * 1e6
        pipe = self.door.redis.pipeline(transaction=False)
        pipe.zscore(self.door.key("waiting", lane), job_id)
        pipe.zrank(self.door.key("waiting", lane), job_id)
        score, rank = await self.door.ask(pipe.execute())
        if score is None or rank is None:
            return None
        # Of the other lane, those that come first once the batch lane's head start is added.
        before = score - head_start_us if lane is Lane.INTERACTIVE else score + head_start_us
        others = self.door.key("waiting", other)
        return rank + await self.door.ask(self.door.redis.zcount(others, "-inf", f"({before:.0f}"))

    async def eta_seconds(self, job: Job) -> float | None:
        """Seconds until the job is likely to be done, by the latest finished jobs; None when nothing is known yet."""
        if job.state.is_ended:
            return None
        recent = await self._recent()
        if not recent or not job.duration_seconds:
            return None
        rates = [wall / audio for model, audio, wall in recent if audio > 0 and model == job.model_id]
        rates = rates or [wall / audio for _, audio, wall in recent if audio > 0]
        if not rates:
            return None
        own_seconds = job.duration_seconds * statistics.median(rates)
        if job.state is JobState.RUNNING:
            return own_seconds * (1 - job.progress)
        ahead = await self.position(job.job_id) or 0
        running = sum([await self._running(lane) for lane in Lane])
        # The jobs ahead and those now running (half done on average) are shared out over the workers busy now.
        seconds_a_job = statistics.fmean(wall for _, _, wall in recent)
        return own_seconds + seconds_a_job * (ahead + running / 2) / max(1, running)

    async def depth(self) -> dict[Lane, LaneDepth]:
        """How full each lane is."""
        now = await self._now()
        return {lane: await self._lane_depth(lane, now) for lane in Lane}

    async def counters(self) -> dict[str, int]:
        """Counts of all time, see `COUNTERS`; a count that is still 0 is missing."""
        counted = await self.door.ask(self.door.redis.hgetall(self.door.key("counters")))
        return {name: int(value) for name, value in counted.items()}

    async def dead_count(self) -> int:
        """Number of dead letters."""
        return await self.door.ask(self.door.redis.xlen(self.door.key("dead")))

    async def _lane_depth(self, lane: Lane, now: float) -> LaneDepth:
        pipe = self.door.redis.pipeline(transaction=False)
        pipe.zcard(self.door.key("waiting", lane))
        pipe.zrange(self.door.key("waiting", lane), 0, 0, withscores=True)
        pipe.xlen(self.door.stream(lane))
        waiting, oldest, length = await self.door.ask(pipe.execute())
        oldest_seconds = max(0.0, now - oldest[0][1] / 1e6) if oldest else 0.0
        return LaneDepth(waiting, await self._running(lane), length, oldest_seconds)

    async def _running(self, lane: Lane) -> int:
        try:
            pending = await self.door.ask(self.door.redis.xpending(self.door.stream(lane), GROUP))
        except NoGroupError:
            return 0
        return sum(holder["pending"] for holder in pending["consumers"] or [] if holder["name"] not in _NOBODY)

    async def _recent(self) -> list[tuple[str, float, float]]:
        """(model id, seconds of audio, seconds of work) of the latest finished jobs."""
        lines = await self.door.ask(self.door.redis.lrange(self.door.key("recent"), 0, -1))
        parts = [line.rsplit("|", 2) for line in lines]
        return [(model, float(audio), float(wall)) for model, audio, wall in parts]

    async def _now(self) -> float:
        """Redis's own time, Unix seconds: ages are differences of one clock."""
        seconds, microseconds = await self.door.ask(self.door.redis.time())
        return int(seconds) + int(microseconds) / 1e6


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


@dataclass(frozen=True)
class Overview:
    """What stands in the queue and who works on it. `counters` as in `COUNTERS`."""

    lanes: dict[Lane, LaneDepth]
    counters: dict[str, int]
    dead_letters: int
    workers: tuple[WorkerStatus, ...]


async def overview(door: RedisDoor) -> Overview:
    """Asks for all of it at once.

    Raises:
        UnavailableError: Redis is away.
    """
    figures = Figures(door)
    lanes, counters, dead_letters, workers = await asyncio.gather(
        figures.depth(), figures.counters(), figures.dead_count(), RollCall(door).workers()
    )
    return Overview(lanes, counters, dead_letters, workers)
