"""Listening to one job: its events in order, from any event on, without gap or duplicate.

A job's event stream begins with its first claim and lives for an hour after its end (an almost empty stream costs
4 KiB). Before and after, the one event that matters, `queued` or the last, is made up from the job's hash with the very
id that it has, or will have, in the stream; so an id seen before resumes rightly whatever has happened in between.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.job import ENDED_STATES, JobEvent
from divisi.queue.redis_door import MOST_BLOCKING_SECONDS, RedisDoor

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
        told_at = clock.time()
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
                told_at = clock.time()
                continue
            if is_ended:
                return
            left = told_at + idle_seconds - clock.time()
            if left <= 0:
                yield None
                told_at = clock.time()
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
