"""What people look at, over HTTP: `peaks.json`, `confidence.json`, `report.png`, spectrograms; and the recording and
its true sources as they were sent.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from divisi.errors import NotFoundError
from divisi.gateway.downloads import AskedConditions, answer_file
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import FILE_HEAD_RESPONSES, file_responses, problems
from divisi.gateway.schemas import SPECTROGRAM_PREFIX
from divisi.gateway.services import GatewayServices, in_time
from divisi.gateway.stem_routes import finished_job
from divisi.jobs.job import ManifestFile

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["views"])

TrackName = Annotated[str, Path(max_length=64, description="Name of a stem, or `mixture`, `residual`.")]
SourceName = Annotated[str, Path(max_length=64, description="Name of the stem that the source is of.")]

_SUMMARIES = {
    "peaks.json": ("Download waveforms to draw", "application/json"),
    "confidence.json": ("Download how far stems are to be believed", "application/json"),
    "report.png": ("Download the job's picture", "image/png"),
}
_HEAD_RESPONSES = {**FILE_HEAD_RESPONSES, **problems(404, 409, 422, 503)}


def _get_responses(media_type: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "object"} if media_type == "application/json" else None
    return {**file_responses(media_type, schema), **problems(404, 409, 416, 422, 503)}


def _add_routes(name: str, summary: str, media_type: str) -> None:
    async def get_file(request: Request, job_id: JobId, services: GatewayServices, conditions: AskedConditions) -> Any:
        """404 (`no-view`) for jobs of workers that made none; else answered as a stem is."""
        return await _answer_view(request, job_id, services, conditions, name)

    operation = name.replace(".", "_")
    router.add_api_route(
        f"/{name}",
        get_file,
        methods=["HEAD"],
        name=f"look_at_{operation}",
        summary=f"Look at {name}",
        response_class=Response,
        responses=_HEAD_RESPONSES,
    )
    router.add_api_route(
        f"/{name}",
        get_file,
        methods=["GET"],
        name=f"get_{operation}",
        summary=summary,
        response_class=Response,
        responses=_get_responses(media_type),
    )


for _name, (_summary, _media_type) in _SUMMARIES.items():
    _add_routes(_name, _summary, _media_type)


@router.head(
    "/spectrograms/{track}.png",
    name="look_at_spectrogram",
    summary="Look at a spectrogram",
    response_class=Response,
    responses=_HEAD_RESPONSES,
)
@router.get(
    "/spectrograms/{track}.png",
    summary="Download a spectrogram",
    response_class=Response,
    responses=_get_responses("image/png"),
)
async def get_spectrogram(
    request: Request, job_id: JobId, track: TrackName, services: GatewayServices, conditions: AskedConditions
) -> Any:
    """From 50 Hz at the bottom to 8 kHz at the top, logarithmic; from the recording's first sample to its last."""
    return await _answer_view(request, job_id, services, conditions, f"{SPECTROGRAM_PREFIX}{track}.png")


@router.head(
    "/recording",
    name="look_at_recording",
    summary="Look at the recording",
    response_class=Response,
    responses=_HEAD_RESPONSES,
)
@router.get(
    "/recording", summary="Download the recording", response_class=Response, responses=_get_responses("audio/*")
)
async def get_recording(request: Request, job_id: JobId, services: GatewayServices, conditions: AskedConditions) -> Any:
    """The upload as it came. 404 (`no-recording`) when it came in several files."""
    job = await in_time(services.queue.get(job_id), "redis")
    if job.recording is None:
        raise NotFoundError("the recording did not come in one file", code="no-recording")
    return await answer_file(request, services, job, job.recording, conditions)


@router.head(
    "/references/{stem}",
    name="look_at_reference",
    summary="Look at a true source",
    response_class=Response,
    responses=_HEAD_RESPONSES,
)
@router.get(
    "/references/{stem}",
    summary="Download a true source",
    response_class=Response,
    responses=_get_responses("audio/*"),
)
async def get_reference(
    request: Request, job_id: JobId, stem: SourceName, services: GatewayServices, conditions: AskedConditions
) -> Any:
    """The true source of a stem, as it was sent with the recording."""
    job = await in_time(services.queue.get(job_id), "redis")
    wanted = _find(job.references, stem)
    if wanted is None:
        known = [reference.name for reference in job.references]
        raise NotFoundError(f"no true source of {stem!r} was sent", code="unknown-reference", known=known)
    return await answer_file(request, services, job, wanted, conditions)


async def _answer_view(
    request: Request, job_id: str, services: GatewayServices, conditions: AskedConditions, name: str
) -> Any:
    job, manifest = await finished_job(services, job_id)
    wanted = _find(manifest.views, name)
    if wanted is None:
        raise NotFoundError(f"the job has no {name[:80]}", code="no-view", known=[file.name for file in manifest.views])
    return await answer_file(request, services, job, wanted, conditions, may_redirect=False)


def _find(files: tuple[ManifestFile, ...], name: str) -> ManifestFile | None:
    return next((file for file in files if file.name == name), None)
