"""Practice mixes over HTTP: one part in front of the others, or everything but it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from divisi.gateway.downloads import AskedConditions, answer_file
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import FILE_HEAD_RESPONSES, file_responses, problems
from divisi.gateway.practice_mixes import LOWER_DB, PracticeMix, ready_mix
from divisi.gateway.services import GatewayServices
from divisi.gateway.stem_routes import finished_job

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["mixes"])

PartName = Annotated[str, Path(max_length=64, description="Name of the stem to practise, such as `soprano`.")]


@router.head(
    "/mixes/{part}",
    name="look_at_mix",
    summary="Look at a practice mix",
    response_class=Response,
    responses={**FILE_HEAD_RESPONSES, **problems(404, 409, 422, 503)},
)
@router.get(
    "/mixes/{part}",
    summary="Download a practice mix",
    response_class=Response,
    responses={**file_responses("audio/*"), **problems(404, 409, 416, 422, 503)},
)
async def get_mix(
    request: Request,
    job_id: JobId,
    part: PartName,
    services: GatewayServices,
    conditions: AskedConditions,
    without: Annotated[bool, Query(description="Everything but the part, instead of the part in front.")] = False,
    lower_db: Annotated[int, Query(ge=1, le=60, description="How far the others are lowered.")] = LOWER_DB,
) -> Any:
    """In the format of the job's stems. The first request for a mix waits until it is made; then it is kept."""
    job, manifest = await finished_job(services, job_id)
    mix = PracticeMix(part, is_without=without, lower_db=lower_db)
    return await answer_file(request, services, job, await ready_mix(services, job, manifest, mix), conditions)
