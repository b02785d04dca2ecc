"""Server-sent events of one job: what the queue tells, in the words of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sse_starlette import ServerSentEvent

from divisi.contract.answers import EventBody
from divisi.contract.errors import NotFoundError, UnavailableError
from divisi.contract.job import JobState
from divisi.gateway.problems import job_problem
from divisi.jobs.events import EventReader
from divisi.telemetry import get_logger

log = get_logger(__name__)

HEARTBEAT_SECONDS = 15.0
RECONNECT_MILLISECONDS = 2000


async def follow(reader: EventReader, job_id: str, after_id: str | None) -> AsyncIterator[ServerSentEvent]:
    """The job's events after `after_id` (None: all) until its last; comments keep idle connections open.

    Each event's id is its id in the job's Redis stream. When Redis goes away the stream ends, and the listener, who
    reconnects by itself, resumes after the last event it saw.
    """
    yield ServerSentEvent(comment="divisi", retry=RECONNECT_MILLISECONDS)
    try:
        async for event in reader.events(job_id, after_id, idle_seconds=HEARTBEAT_SECONDS):
            if event is None:
                yield ServerSentEvent(comment="alive")
                continue
            body = EventBody(
                state=event.kind or JobState.RUNNING,
                progress=event.progress,
                attempt=event.attempt,
                stage=event.stage,
                problem=job_problem(event.problem) if event.problem else None,
            )
            name = "state" if event.kind else "progress"
            yield ServerSentEvent(event=name, id=event.event_id, data=body.model_dump_json(exclude_none=True))
    except UnavailableError as error:
        log.warning("event stream broken off", job_id=job_id, reason=error.message)
    except NotFoundError:
        return  # erased while somebody listened
