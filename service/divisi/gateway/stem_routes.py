"""Stems over HTTP: one by one, or with all else that was delivered in one archive."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from divisi.errors import ConflictError, NotFoundError
from divisi.gateway.archive import archive_of
from divisi.gateway.downloads import AskedConditions, answer_file
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import ARCHIVE_RESPONSE, FILE_HEAD_RESPONSES, file_responses, problems
from divisi.gateway.practice_mixes import all_mixes, ready_mix
from divisi.gateway.services import GatewayServices, Services, in_time
from divisi.jobs.job import Job, JobState, Manifest, ManifestStem
from divisi.storage.file_names import content_disposition

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["stems"])

StemName = Annotated[
    str, Path(max_length=64, description="Name of a stem, such as `soprano`, or `residual`, `resynthesis`.")
]


@router.head(
    "/stems/{stem}",
    name="look_at_stem",
    summary="Look at a stem",
    response_class=Response,
    responses={**FILE_HEAD_RESPONSES, **problems(404, 409, 422, 503)},
)
@router.get(
    "/stems/{stem}",
    summary="Download a stem",
    response_class=Response,
    responses={**file_responses("audio/*"), **problems(404, 409, 416, 422, 503)},
)
async def get_stem(
    request: Request,
    job_id: JobId,
    stem: StemName,
    services: GatewayServices,
    conditions: AskedConditions,
) -> Any:
    """The stem's bytes. The entity tag is their SHA-256, so a download can be resumed and checked.

    Where the object store gives expiring links the answer redirects to one.
    """
    job, manifest = await finished_job(services, job_id)
    return await answer_file(request, services, job, _stem_of(manifest, stem), conditions)


@router.get(
    "/archive.zip",
    summary="Download all stems",
    response_class=Response,
    responses={**ARCHIVE_RESPONSE, **problems(404, 409, 422, 503)},
)
async def get_archive(
    job_id: JobId,
    services: GatewayServices,
    mixes: Annotated[bool, Query(description="With all practice mixes; missing ones are made first.")] = False,
) -> Any:
    """All that was delivered and a `manifest.json` in one ZIP file, made while it is sent; audio is stored as it is."""
    job, manifest = await finished_job(services, job_id)
    made = [await ready_mix(services, job, manifest, mix) for mix in all_mixes(manifest)] if mixes else []
    files = [*manifest.files, *made]
    for file in files:
        await in_time(services.store.head(file.key), "store")
    disposition = content_disposition(job.file_name, "stems.zip", job_id)
    return StreamingResponse(
        archive_of(job, services.settings.root_path, files, services.store),
        media_type="application/zip",
        headers={"Content-Disposition": disposition, "Cache-Control": "private, no-cache"},
    )


async def finished_job(services: Services, job_id: str) -> tuple[Job, Manifest]:
    """A job that succeeded, and what it made; ConflictError for any other state."""
    job = await in_time(services.queue.get(job_id), "redis")
    if job.state is JobState.SUCCEEDED and job.manifest is not None:
        return job, job.manifest
    if job.state.is_ended:
        raise ConflictError(f"job {job_id} has {job.state.value}", code=f"job-{job.state.value}", state=job.state.value)
    raise ConflictError(f"job {job_id} is {job.state.value}", code="job-not-finished", state=job.state.value)


def _stem_of(manifest: Manifest, name: str) -> ManifestStem:
    stems = [*manifest.stems, *([manifest.resynthesis] if manifest.resynthesis else [])]
    for stem in stems:
        if stem.name == name:
            return stem
    known = [stem.name for stem in stems]
    raise NotFoundError(f"the job has no stem {name!r}; it has {', '.join(known)}", code="unknown-stem", known=known)
