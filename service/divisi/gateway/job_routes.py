"""Jobs over HTTP: submit, look, list, listen, cancel, erase."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse

from divisi.contract.answers import GroupBody, JobBody, JobListBody
from divisi.contract.errors import ConflictError, UnavailableError
from divisi.contract.job import ENDED_STATES, Job, JobState
from divisi.gateway.acceptance import Acceptance, accept_upload
from divisi.gateway.access import GatewayCaller
from divisi.gateway.bodies import group_url, job_body, job_url
from divisi.gateway.events import follow
from divisi.gateway.openapi import EVENT, IDEMPOTENCY_REPLAYED, JOB_LINKS, SUBMIT_REQUEST, problems
from divisi.gateway.services import GatewayServices, Services
from divisi.life import erase

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern=r"^[0-9a-z]{26}$", description="Id of a job.")]
# All ids of one millisecond share their first ten characters; `z` is the greatest character an id can have.
TIME_LENGTH = 10
MOST_OF_TIME = "z" * 16
MIN_POLL_SECONDS = 1
MAX_POLL_SECONDS = 30


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
        **problems(400, 408, 409, 413, 415, 422, 503),
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
    response.headers["Location"] = services.settings.root_path + _location(accepted)
    response.headers["Retry-After"] = str(_poll_seconds(bodies[0].eta_seconds))
    if accepted.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return GroupBody(group=accepted.group, jobs=bodies) if accepted.group else bodies[0]


@router.get("", response_model=JobListBody, summary="List jobs", responses=problems(422, 503))
async def list_jobs(
    services: GatewayServices,
    caller: GatewayCaller,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$", description="`next_cursor` of a page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    group: Annotated[str | None, Query(pattern=r"^[0-9a-z]{26}$", description="Only the jobs of this group.")] = None,
) -> JobListBody:
    """Jobs, newest first; or all jobs of one group, newest first, on one page. A key sees its own."""
    root = services.settings.root_path
    owner = None if caller.sees_all else caller.owner
    if group is not None:
        return JobListBody(jobs=[job_body(job, root) for job in await jobs_of_group(services, group, owner)])
    page = await services.queue.list(cursor, limit, owner)
    return JobListBody(jobs=[job_body(job, root) for job in page.jobs], next_cursor=page.next_cursor)


@router.get("/{job_id}", response_model=JobBody, summary="Look at a job", responses=problems(404, 422, 503))
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
        **problems(404, 422, 503),
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


@router.post("/{job_id}/cancel", response_model=JobBody, summary="Cancel a job", responses=problems(404, 409, 422, 503))
async def cancel_job(job_id: JobId, services: GatewayServices) -> JobBody:
    """Stops a job and keeps its record. Cancelling twice is no error; a job that ended otherwise is answered 409."""
    job = await services.queue.cancel(job_id)
    if job.state is not JobState.CANCELLED:
        raise ConflictError(f"job {job_id} has already {job.state.value}", code="job-ended", state=job.state.value)
    return job_body(job, services.settings.root_path)


@router.delete(
    "/{job_id}", status_code=204, response_class=Response, summary="Erase a job", responses=problems(404, 422, 503)
)
async def erase_job(job_id: JobId, services: GatewayServices) -> None:
    """Cancels the job if it has not ended, then erases recording, stems and record."""
    await erase.erase_job(services.queue, services.store, job_id)


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


def _location(accepted: Acceptance) -> str:
    return group_url(accepted.group) if accepted.group else job_url(accepted.jobs[0].job_id)


def _poll_seconds(eta_seconds: float | None) -> int:
    return round(min(max(eta_seconds or 0.0, MIN_POLL_SECONDS), MAX_POLL_SECONDS))
