"""For whoever watches: the events of one job, and what the queue can say about itself. Nothing is written.

A job's event stream begins with its first claim and lives for an hour after its end (an almost empty stream costs
4 KiB). Before and after, the one event that matters, `queued` or the last, is made up from the job's hash with the very
id that it has, or will have, in the stream; so an id seen before resumes rightly whatever has happened in between.

Each figure costs O(log n) in the queue's length.
"""

from __future__ import annotations

import asyncio
import re
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass

from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.job import ENDED_STATES, Job, JobEvent, JobState
from divisi.contract.request import Lane
from divisi.queue.redis_door import GROUP, MOST_BLOCKING_SECONDS, NoGroupError, RedisDoor
from divisi.queue.worker_side import RollCall, WorkerStatus

_EVENT_ID = re.compile(r"\d{1,16}-\d{1,16}")
_BEGINNING = "0-0"


class EventReader:
    """Reads the events of jobs."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def events(
        self, job_id: str, after_id: str | None = None, idle_seconds: float = 15.0
    ) -> AsyncIterator[JobEvent | None]:
        """The job's events after `after_id` (None: from the beginning) until its last; then stops.

        Yields None when nothing happened for `idle_seconds`: time for a sign of life to the listener.

        Raises:
            InputError: `after_id` is not an event id (code `invalid-event-id`).
            NotFoundError: no such job, or it was erased meanwhile (code `unknown-job`).
        """
        after = after_id or _BEGINNING
        if not _EVENT_ID.fullmatch(after):
            raise InputError(f"{after_id!r} is not the id of an event", code="invalid-event-id")
        clock = asyncio.get_running_loop()
        signed_at = clock.time()
        while True:
            # Asked before the stream is read: whatever ended the job is then in the stream or past its life there.
            made_up, is_ended = await self._made_up_event(job_id)
            found = await self._read(job_id, after)
            if not found and made_up and _order(made_up.event_id) > _order(after):
                found = [made_up]
            for event in found:
                yield event
                after = event.event_id
                if event.is_last:
                    return
            if found:
                signed_at = clock.time()
                continue
            if is_ended:
                return
            left = signed_at + idle_seconds - clock.time()
            if left <= 0:
                yield None
                signed_at = clock.time()
                continue
            await self._wait(job_id, after, min(left, MOST_BLOCKING_SECONDS))

    async def _read(self, job_id: str, after: str) -> list[JobEvent]:
        stream = self.door.key("events", job_id)
        entries = await self.door.ask(self.door.redis.xrange(stream, f"({after}", "+", count=500))
        return [JobEvent.from_entry(event_id, values) for event_id, values in entries]

    async def _wait(self, job_id: str, after: str, seconds: float) -> None:
        block_ms = max(1, int(seconds * 1000))
        stream = self.door.key("events", job_id)
        await self.door.ask(self.door.redis.xread({stream: after}, count=1, block=block_ms), seconds)

    async def _made_up_event(self, job_id: str) -> tuple[JobEvent | None, bool]:
        """The event that stands for the job's hash when its stream is not there; second: whether the job has ended."""
        names = ["state", "queued_at", "last_event", "attempt", "progress", "problem"]
        found = await self.door.ask(self.door.redis.hmget(self.door.key("job", job_id), names))
        values = {name: value for name, value in zip(names, found, strict=True) if value is not None}
        state = values.pop("state", None)
        if state is None:
            raise NotFoundError(f"There is no job {job_id}", code="unknown-job")
        values["kind"] = state
        if state in ENDED_STATES:
            return JobEvent.from_entry(values["last_event"], values), True
        if state == "queued":
            return JobEvent.from_entry(f"{int(values['queued_at']) // 1000}-1", values), False
        return None, False


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


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
