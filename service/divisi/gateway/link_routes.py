"""Links to share: for each stem and the archive one that works without a key until it expires."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from divisi.gateway.access import link_secret
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import problems
from divisi.gateway.schemas import job_url
from divisi.gateway.services import GatewayServices
from divisi.gateway.stem_routes import finished_job
from divisi.storage.signed_links import sign_link

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["stems"])

LONGEST_SECONDS = 7 * 24 * 3600


class StemLinkBody(BaseModel):
    """A link to one stem."""

    name: str
    href: str


class DownloadLinksBody(BaseModel):
    """Links that open without a key."""

    expires_at: datetime
    stems: list[StemLinkBody]
    archive: str = Field(description="All stems in one ZIP file.")


@router.post(
    "/links", response_model=DownloadLinksBody, summary="Make download links", responses=problems(404, 409, 422, 503)
)
async def make_links(
    job_id: JobId,
    services: GatewayServices,
    response: Response,
    seconds: Annotated[int | None, Query(ge=1, le=LONGEST_SECONDS, description="How long they shall work.")] = None,
) -> DownloadLinksBody:
    """Links to the stems and the archive that anybody can open, until they expire or the job is erased."""
    job, manifest = await finished_job(services, job_id)
    ends = time.time() + (seconds or services.settings.link_seconds)
    expires_at = int(min(ends, job.expires_at or ends))
    secret = await link_secret(services)
    url = job_url(job_id)
    response.headers["Cache-Control"] = "no-store"
    return DownloadLinksBody(
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        stems=[
            StemLinkBody(name=stem.name, href=sign_link(f"{url}/stems/{stem.name}", expires_at, secret))
            for stem in manifest.stems
        ],
        archive=sign_link(f"{url}/archive.zip", expires_at, secret),
    )
