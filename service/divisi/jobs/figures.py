"""Figures about the queue: position, estimate, depth, counts. Reads only; each costs O(log n) in the queue's length."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from divisi.contract.job import Job, JobState
from divisi.contract.request import Lane
from divisi.door.redis_door import GROUP, NoGroupError, RedisDoor

# Consumers of the group that stand for nobody, see door/scripts/shared.lua.
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
