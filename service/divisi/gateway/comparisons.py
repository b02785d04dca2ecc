"""Comparisons over HTTP: the jobs of one upload with several models as a table of voices by systems.

And what is shared of them and of a job: links that open without a key until they expire, and what is kept with it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from divisi.access.callers import Links
from divisi.contract.answers import CellBody, ComparisonBody, JobBody, SystemBody
from divisi.contract.errors import ConflictError, NotFoundError
from divisi.contract.files import path_of
from divisi.contract.job import Job
from divisi.contract.rehearsal import MOST_BYTES, Rehearsal
from divisi.gateway.answers import group_url, job_body, job_url, reference_bodies
from divisi.gateway.dependencies import NEVER_STORED, GatewayCaller, GatewayServices, Services, signed
from divisi.gateway.files import kept_rehearsal, matches_any
from divisi.gateway.jobs import JobId, jobs_of_group
from divisi.gateway.on_demand import finished_job
from divisi.gateway.openapi import ARCHIVE_RESPONSE, json_request, problems
from divisi.gateway.uploads import read_json
from divisi.storage.names import content_disposition, rehearsal_key

router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"], dependencies=[NEVER_STORED])
job_router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["stems"], dependencies=[NEVER_STORED])

LONGEST_SECONDS = 7 * 24 * 3600
# A century: a link to a job that is kept opens until the job is erased.
_KEPT_SECONDS = 100 * 365 * 86_400.0
LinkSeconds = Annotated[int | None, Query(ge=1, le=LONGEST_SECONDS, description="How long links shall work.")]


class StemLinkBody(BaseModel):
    """A link to one stem."""

    name: str
    href: str


class DownloadLinksBody(BaseModel):
    """Links that open without a key."""

    expires_at: datetime
    stems: list[StemLinkBody]
    archive: str = Field(description="All stems in one ZIP file.")
    shared: str = Field(description="The job, with links to all that belongs to it.")


class GroupLinkBody(BaseModel):
    """A link that opens a comparison without a key."""

    expires_at: datetime
    shared: str = Field(description="The comparison, with links to all that belongs to it.")


async def _jobs_in_order(
    group: Annotated[str, Path(pattern=r"^[0-9a-z]{26}$", description="Id of a group.")],
    services: GatewayServices,
    caller: GatewayCaller,
) -> list[Job]:
    """The group's jobs in the order in which their models were asked for; NotFoundError (`unknown-group`)."""
    jobs = await jobs_of_group(services, group, caller.sees_only)
    if not jobs:
        raise NotFoundError(f"There is no group {group}", code="unknown-group")
    return sorted(jobs, key=lambda job: (job.place, job.job_id))


GroupJobs = Annotated[list[Job], Depends(_jobs_in_order)]


@router.get("", response_model=ComparisonBody, summary="Look at a comparison", responses=problems(404))
async def get_group(jobs: GroupJobs, services: GatewayServices) -> ComparisonBody:
    """Every voice of every model; a model that failed has its problem in its job and empty cells."""
    return comparison_body(jobs, services)


@router.get(
    "/table.csv",
    summary="Download the scores of a comparison",
    response_class=Response,
    responses={
        200: {
            "description": "The table.",
            "headers": ARCHIVE_RESPONSE[200]["headers"],
            "content": {"text/csv": {"schema": {"type": "string"}}},
        },
        **problems(404),
    },
)
async def get_group_table(jobs: GroupJobs, services: GatewayServices) -> Response:
    """A row a model, a column a voice: SI-SDR in dB, empty where there is no true source."""
    body = comparison_body(jobs, services)
    disposition = content_disposition(body.file_name, "scores.csv", body.group)
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(table_of(body), media_type="text/csv", headers=headers)


@router.post("/links", response_model=GroupLinkBody, summary="Make a link to a comparison", responses=problems(404))
async def make_group_link(jobs: GroupJobs, services: GatewayServices, seconds: LinkSeconds = None) -> GroupLinkBody:
    """A link to the comparison that anybody can open, until it expires or the last of its jobs is erased."""
    links = await _links_until(services, seconds, jobs)
    return GroupLinkBody(expires_at=links.expires_at, shared=links.to(f"{group_url(jobs[0].group or '')}/shared"))


@router.get("/shared", response_model=ComparisonBody, summary="Open a shared comparison", responses=problems(404))
async def get_shared_group(request: Request, jobs: GroupJobs, services: GatewayServices) -> Any:
    """The comparison as at its own address; its links open without a key as long as the one that led here."""
    return await signed(request, services, comparison_body(jobs, services))


def comparison_body(jobs: list[Job], services: Services) -> ComparisonBody:
    """The table of the jobs of one group, one or more."""
    root, group = services.settings.root_path, jobs[0].group or ""
    bodies = [job_body(job, root) for job in jobs]
    titles = {card.id: card for card in services.bundles.list()}
    voices = dict.fromkeys(
        name
        for job, body in zip(jobs, bodies, strict=True)
        for name in (
            [stem.name for stem in body.stems if not stem.is_residual]
            or (titles[job.model_id].stems if job.model_id in titles else ())
        )
    )
    references = {reference.name: reference for job in reversed(jobs) for reference in reference_bodies(job, root)}
    return ComparisonBody(
        group=group,
        file_name=jobs[0].file_name,
        submitted_at=bodies[0].submitted_at,
        state="ended" if all(job.state.is_ended for job in jobs) else "running",
        input=bodies[0].input,
        voices=list(voices),
        references=[references[voice] for voice in voices if voice in references],
        systems=[
            _system(body, titles[body.model].title if body.model in titles else body.model, voices) for body in bodies
        ],
        table=f"{root}{group_url(group)}/table.csv",
        folder=f"{root}{group_url(group)}/folder.zip",
    )


def table_of(body: ComparisonBody) -> str:
    """The scores as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["model", *body.voices, "mean"])
    for system in body.systems:
        rows.writerow([system.model, *(cell.si_sdr_db for cell in system.cells), system.mean_si_sdr_db])
    return text.getvalue()


def _system(body: JobBody, title: str, voices: dict[str, None]) -> SystemBody:
    stems = {stem.name: stem for stem in body.stems}
    scores = {score.stem: score.si_sdr_db for score in body.scores}
    known = [value for value in scores.values() if value is not None]
    return SystemBody(
        model=body.model,
        title=title,
        job=body,
        cells=[CellBody(voice=voice, stem=stems.get(voice), si_sdr_db=scores.get(voice)) for voice in voices],
        resynthesis=body.resynthesis,
        mean_si_sdr_db=round(sum(known) / len(known), 3) if known else None,
    )


@job_router.post(
    "/links", response_model=DownloadLinksBody, summary="Make download links", responses=problems(404, 409)
)
async def make_links(job_id: JobId, services: GatewayServices, seconds: LinkSeconds = None) -> DownloadLinksBody:
    """Links to the stems and the archive that anybody can open, until they expire or the job is erased."""
    job, manifest = await finished_job(services, job_id)
    links, url = await _links_until(services, seconds, [job]), job_url(job_id)
    return DownloadLinksBody(
        expires_at=links.expires_at,
        stems=[
            StemLinkBody(name=stem.name, href=links.to(f"{url}/{path_of('audio', stem.name)}"))
            for stem in manifest.stems
        ],
        archive=links.to(f"{url}/archive.zip"),
        shared=links.to(f"{url}/shared"),
    )


@job_router.put("/keep", response_model=JobBody, summary="Keep a job", responses=problems(404, 409))
async def keep_job(job_id: JobId, services: GatewayServices) -> JobBody:
    """The job, with all that is made of it, stays until it is erased or no longer kept. Links to it open as long, if
    they are not made for a shorter time. A caller keeps only so many.
    """
    most = 0 if services.settings.is_private else services.settings.max_kept_jobs
    return job_body(await services.queue.keep(job_id, most=most), services.settings.root_path)


@job_router.delete("/keep", response_model=JobBody, summary="Let a job expire", responses=problems(404, 409))
async def stop_keeping_job(job_id: JobId, services: GatewayServices) -> JobBody:
    """From now on the job expires as others do."""
    return job_body(await services.queue.keep(job_id, keeps=False), services.settings.root_path)


@job_router.get(
    "/rehearsal",
    response_model=Rehearsal,
    summary="Look at what is kept to rehearse from",
    tags=["rehearsal"],
    responses=problems(404, 409),
)
async def get_rehearsal(job_id: JobId, services: GatewayServices, response: Response) -> Rehearsal:
    """Named passages, the tempo and the count-in that are kept with the job; empty until somebody keeps something."""
    await finished_job(services, job_id)
    kept = await kept_rehearsal(services, job_id)
    response.headers["ETag"] = _tag_of(kept)
    return kept


@job_router.put(
    "/rehearsal",
    response_model=Rehearsal,
    summary="Keep something to rehearse from",
    tags=["rehearsal"],
    openapi_extra=json_request("Rehearsal"),
    responses=problems(404, 409, 412, 413),
)
async def keep_rehearsal(
    request: Request,
    response: Response,
    job_id: JobId,
    services: GatewayServices,
    if_match: Annotated[
        str | None, Header(alias="If-Match", description="Only in the place of what has this `ETag`, else 412.")
    ] = None,
) -> Rehearsal:
    """Keeps these with the job in the place of what was kept; they are erased with it, and whoever opens a link to the
    job sees them.
    """
    await finished_job(services, job_id)
    rehearsal = await read_json(request, Rehearsal, MOST_BYTES)
    async with services.rehearsals:
        if if_match is not None and not matches_any(if_match, _tag_of(await kept_rehearsal(services, job_id))):
            raise ConflictError("somebody else has kept something since it was looked at", code="rehearsal-changed")
        await services.store.put_bytes(rehearsal_key(job_id), rehearsal.model_dump_json().encode())
    response.headers["ETag"] = _tag_of(rehearsal)
    return rehearsal


def _tag_of(rehearsal: Rehearsal) -> str:
    return f'"{hashlib.sha256(rehearsal.model_dump_json().encode()).hexdigest()[:32]}"'


@job_router.get("/shared", response_model=JobBody, summary="Open a shared job", responses=problems(404, 409))
async def get_shared_job(request: Request, job_id: JobId, services: GatewayServices) -> Any:
    """The job as at its own address; its links open without a key as long as the one that led here."""
    job, _ = await finished_job(services, job_id)
    return await signed(request, services, job_body(job, services.settings.root_path))


async def _links_until(services: Services, seconds: int | None, jobs: list[Job]) -> Links:
    """Links that open for so many seconds, or until the last of the jobs expires; as long as one is kept."""
    usual = _KEPT_SECONDS if any(job.is_kept for job in jobs) else services.settings.link_seconds
    ends = time.time() + (seconds or usual)
    expires_at = int(min(ends, max(job.expires_at or ends for job in jobs)))
    return Links(services.settings.root_path, expires_at, await services.keys.deployment_secret())
