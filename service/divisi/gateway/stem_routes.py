"""Stems over HTTP: one by one with ranges and entity tags, or all in one archive."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from divisi.errors import ConflictError, ModelError, NotFoundError
from divisi.gateway.archive import archive_of
from divisi.gateway.byte_ranges import matches_any, parse_range
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import ARCHIVE_RESPONSE, STEM_HEAD_RESPONSES, STEM_RESPONSES, problems
from divisi.gateway.services import GatewayServices, Services, in_time
from divisi.jobs.job import Job, JobState, Manifest, ManifestStem
from divisi.storage.file_names import content_disposition, download_name

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["stems"])

StemName = Annotated[str, Path(max_length=64, description="Name of a stem, such as `soprano`, or `residual`.")]


@router.head(
    "/stems/{stem}",
    name="look_at_stem",
    summary="Look at a stem",
    response_class=Response,
    responses={**STEM_HEAD_RESPONSES, **problems(404, 409, 422, 503)},
)
@router.get(
    "/stems/{stem}",
    summary="Download a stem",
    response_class=Response,
    responses={**STEM_RESPONSES, **problems(404, 409, 416, 422, 503)},
)
async def get_stem(
    request: Request,
    job_id: JobId,
    stem: StemName,
    services: GatewayServices,
    range_header: Annotated[str | None, Header(alias="Range", description="One range of bytes.")] = None,
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="Honour the range only if this is the stem's tag.")
    ] = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="Answer 304 if this is the stem's tag.")
    ] = None,
) -> Any:
    """The stem's bytes. The entity tag is their SHA-256, so a download can be resumed and checked.

    Where the object store gives expiring links the answer redirects to one.
    """
    job, manifest = await _finished(services, job_id)
    wanted = _stem_of(manifest, stem)
    tag = f'"{wanted.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(download_name(job.file_name, wanted.file_name)),
    }
    if matches_any(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(wanted.bytes)}, media_type=wanted.media_type)
    link = await in_time(services.store.signed_url(wanted.key, services.settings.link_seconds), "store")
    if link is not None:
        return RedirectResponse(link, status_code=302, headers={"Cache-Control": "no-store"})
    stored = await in_time(services.store.head(wanted.key), "store")
    if stored.size != wanted.bytes:
        raise ModelError(f"{stem} is stored with {stored.size} of its {wanted.bytes} bytes", code="damaged-stem")
    honours_range = if_range is None or if_range.strip() == tag
    asked = parse_range(range_header, wanted.bytes) if honours_range else None
    start, end = asked or (0, wanted.bytes)
    headers["Content-Length"] = str(end - start)
    if asked is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{wanted.bytes}"
    return StreamingResponse(
        services.store.stream(wanted.key, start, end),
        status_code=206 if asked else 200,
        headers=headers,
        media_type=wanted.media_type,
    )


@router.get(
    "/archive.zip",
    summary="Download all stems",
    response_class=Response,
    responses={**ARCHIVE_RESPONSE, **problems(404, 409, 422, 503)},
)
async def get_archive(job_id: JobId, services: GatewayServices) -> Any:
    """All stems and a `manifest.json` in one ZIP file, made while it is sent; audio is stored as it is."""
    job, manifest = await _finished(services, job_id)
    for stem in manifest.stems:
        await in_time(services.store.head(stem.key), "store")
    name = download_name(job.file_name, "stems.zip")
    return StreamingResponse(
        archive_of(job, manifest, services.store),
        media_type="application/zip",
        headers={"Content-Disposition": content_disposition(name), "Cache-Control": "private, no-cache"},
    )


async def _finished(services: Services, job_id: str) -> tuple[Job, Manifest]:
    job = await in_time(services.queue.get(job_id), "redis")
    if job.state is JobState.SUCCEEDED and job.manifest is not None:
        return job, job.manifest
    if job.state.is_ended:
        raise ConflictError(f"job {job_id} has {job.state.value}", code=f"job-{job.state.value}", state=job.state.value)
    raise ConflictError(f"job {job_id} is {job.state.value}", code="job-not-finished", state=job.state.value)


def _stem_of(manifest: Manifest, name: str) -> ManifestStem:
    for stem in manifest.stems:
        if stem.name == name:
            return stem
    known = [stem.name for stem in manifest.stems]
    raise NotFoundError(f"the job has no stem {name!r}; it has {', '.join(known)}", code="unknown-stem", known=known)
