"""Jobs over HTTP: submit, look, list, listen, cancel, erase; and what became of their webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from divisi import life
from divisi.contract.answers import EventBody, GroupBody, JobBody, JobListBody
from divisi.contract.errors import ConflictError, NotFoundError, UnavailableError
from divisi.contract.job import ENDED_STATES, Job, JobState
from divisi.gateway.acceptance import accept_upload
from divisi.gateway.answers import group_url, job_body, job_problem, job_url
from divisi.gateway.dependencies import GatewayCaller, GatewayServices, Services
from divisi.gateway.openapi import EVENT, IDEMPOTENCY_REPLAYED, JOB_LINKS, SUBMIT_REQUEST, problems
from divisi.queue.watching import EventReader
from divisi.telemetry import get_logger
from divisi.webhooks.deliveries import DeliveryStatus

log = get_logger(__name__)
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern=r"^[0-9a-z]{26}$", description="Id of a job.")]
# All ids of one millisecond share their first ten characters; `z` is the greatest character an id can have.
TIME_LENGTH = 10
MOST_OF_TIME = "z" * 16
MIN_POLL_SECONDS = 1
MAX_POLL_SECONDS = 30
HEARTBEAT_SECONDS = 15.0
RECONNECT_MILLISECONDS = 2000


@router.post(
    "",
    status_code=202,
    response_model=JobBody | GroupBody,
    summary="Submit a recording",
    responses={
        202: {
            "description": "The recording is accepted and queued: one job, or one for each of several models.",
            "headers": {
                "Location": {"description": "Where to look.", "schema": {"type": "string"}},
                "Retry-After": {"description": "Seconds until a look is worth while.", "schema": {"type": "integer"}},
                "Idempotency-Replayed": IDEMPOTENCY_REPLAYED,
            },
            "links": JOB_LINKS,
        },
        **problems(400, 408, 409, 413, 415),
    },
    openapi_extra=SUBMIT_REQUEST,
)
async def submit_job(
    request: Request,
    response: Response,
    services: GatewayServices,
    caller: GatewayCaller,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[!-~]+$",
            description="The same key with the same recording and options gives the same jobs again, for 24 hours.",
        ),
    ] = None,
) -> JobBody | GroupBody:
    """Takes one recording and queues its separation.

    Send `multipart/form-data` with the recording in `file` and the options as fields, or the bare recording as the body
    with the options in the query. What is not audio, is damaged or too long is refused here.
    """
    accepted = await accept_upload(request, services, caller, idempotency_key)
    bodies = [await _body_at_once(services, job) for job in accepted.jobs]
    url = group_url(accepted.group) if accepted.group else job_url(accepted.jobs[0].job_id)
    response.headers["Location"] = services.settings.root_path + url
    response.headers["Retry-After"] = str(_poll_seconds(bodies[0].eta_seconds))
    if accepted.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return GroupBody(group=accepted.group, jobs=bodies) if accepted.group else bodies[0]


@router.get("", response_model=JobListBody, summary="List jobs")
async def list_jobs(
    services: GatewayServices,
    caller: GatewayCaller,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$", description="`next_cursor` of a page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    group: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$", description="Only the jobs of this group.")] = None,
) -> JobListBody:
    """Jobs, newest first; or all jobs of one group, newest first, on one page. A key sees its own."""
    root = services.settings.root_path
    if group is not None:
        return JobListBody(jobs=[job_body(job, root) for job in await jobs_of_group(services, group, caller.sees_only)])
    page = await services.queue.list(cursor, limit, caller.sees_only)
    return JobListBody(jobs=[job_body(job, root) for job in page.jobs], next_cursor=page.next_cursor)


@router.get("/{job_id}", response_model=JobBody, summary="Look at a job", responses=problems(404))
async def get_job(job_id: JobId, services: GatewayServices, response: Response) -> JobBody:
    """The job as it stands. A job that failed is answered 200 with its problem inside."""
    job = await services.queue.get(job_id)
    body = await _body(services, job)
    response.headers["Cache-Control"] = "no-store"
    if job.state not in ENDED_STATES:
        response.headers["Retry-After"] = str(_poll_seconds(body.eta_seconds))
    return body


@router.get(
    "/{job_id}/events",
    summary="Listen to a job",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events: `state` on each change of state, `progress` between. Ends after the "
            "event of the job's end; a comment comes after 15 s of silence.",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        **problems(404),
    },
)
async def listen_to_job(
    job_id: JobId,
    services: GatewayServices,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=r"^[0-9]{1,16}-[0-9]{1,16}$",
            description="Resume after this event, without gap.",
        ),
    ] = None,
) -> Any:
    """The job's events from the first one, or from where a broken connection left off."""
    await services.queue.get(job_id)
    return EventSourceResponse(follow(services.events, job_id, last_event_id), ping=0)


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


@router.post("/{job_id}/cancel", response_model=JobBody, summary="Cancel a job", responses=problems(404, 409))
async def cancel_job(job_id: JobId, services: GatewayServices) -> JobBody:
    """Stops a job and keeps its record. Cancelling twice is no error; a job that ended otherwise is answered 409."""
    job = await services.queue.cancel(job_id)
    if job.state is not JobState.CANCELLED:
        raise ConflictError(f"job {job_id} has already {job.state.value}", code="job-ended", state=job.state.value)
    return job_body(job, services.settings.root_path)


@router.delete("/{job_id}", status_code=204, response_class=Response, summary="Erase a job", responses=problems(404))
async def erase_job(job_id: JobId, services: GatewayServices) -> None:
    """Cancels the job if it has not ended, then erases recording, stems and record."""
    await life.erase_job(services.queue, services.store, job_id)


class DeliveryAttemptBody(BaseModel):
    """How one attempt went."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    status: int | None = Field(None, description="HTTP status of the receiver's answer, if there was one.")
    error: str | None = Field(None, description="Why it counts as failed.")
    seconds: float


class DeliveryBody(BaseModel):
    """One event that is reported: repeated until the receiver answers 2xx."""

    id: str = Field(description="The `webhook-id` of every attempt.")
    type: str = Field(examples=["job.succeeded"])
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    log: list[DeliveryAttemptBody]


class DeliveryListBody(BaseModel):
    """The webhooks of one job, oldest first."""

    webhook_url: str | None = Field(None, description="null: the job asked for none.")
    deliveries: list[DeliveryBody]


@router.get(
    "/{job_id}/deliveries",
    response_model=DeliveryListBody,
    summary="Look at webhooks",
    responses=problems(404),
)
async def list_deliveries(job_id: JobId, services: GatewayServices) -> DeliveryListBody:
    """Every attempt to report the job's end to its `webhook_url`. Empty before the job has ended."""
    job = await services.queue.get(job_id)
    deliveries = await services.deliveries.deliveries(job_id)
    bodies = [
        DeliveryBody(
            id=delivery.delivery_id,
            type=f"job.{delivery.event}",
            status=delivery.status,
            attempts=delivery.attempts,
            created_at=delivery.created_at,
            next_attempt_at=delivery.next_at,
            log=list(delivery.log),
        )
        for delivery in deliveries
    ]
    return DeliveryListBody(webhook_url=job.webhook_url, deliveries=bodies)


def message_of(job: Job, root: str, event: str) -> bytes:
    """The body: what happened, when, and the job as `GET /v1/jobs/{id}` answers it."""
    message = {
        "type": f"job.{event}",
        "timestamp": datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC).isoformat(),
        "data": job_body(job, root).model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(message, separators=(",", ":")).encode()


async def jobs_of_group(services: Services, group: str, owner: str | None) -> list[Job]:
    """The ids of a group and of its jobs begin with one time, so a short stretch of the list has them all."""
    jobs: list[Job] = []
    cursor: str | None = group[:TIME_LENGTH] + MOST_OF_TIME
    while cursor is not None and cursor[:TIME_LENGTH] == group[:TIME_LENGTH]:
        page = await services.queue.list(cursor, limit=50, owner=owner)
        jobs += [job for job in page.jobs if job.group == group]
        cursor = page.next_cursor
    return jobs


async def _body(services: Services, job: Job) -> JobBody:
    if job.state in ENDED_STATES:
        return job_body(job, services.settings.root_path)
    position, eta_seconds = await asyncio.gather(
        services.figures.position(job.job_id), services.figures.eta_seconds(job)
    )
    return job_body(job, services.settings.root_path, position, eta_seconds)


async def _body_at_once(services: Services, job: Job) -> JobBody:
    """An accepted job is answered 202 even when Redis has left since."""
    try:
        return await _body(services, job)
    except UnavailableError:
        return job_body(job, services.settings.root_path)


def _poll_seconds(eta_seconds: float | None) -> int:
    return round(min(max(eta_seconds or 0.0, MIN_POLL_SECONDS), MAX_POLL_SECONDS))
