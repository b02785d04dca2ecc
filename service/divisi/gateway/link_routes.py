"""Links to share, which work without a key until they expire: to stems, the archive, all of a job or comparison."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from divisi.access.caller import is_linkable
from divisi.access.signed_links import EXPIRES, SIGNATURE, Link, sign_link
from divisi.contract.answers import JobBody
from divisi.contract.files import path_of
from divisi.gateway.access import GatewayCaller, link_secret
from divisi.gateway.bodies import group_url, job_body, job_url
from divisi.gateway.file_routes import finished_job
from divisi.gateway.group_routes import ComparisonBody, GroupId, comparison_body, known_group
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import problems
from divisi.gateway.services import GatewayServices, Services

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["stems"])
group_router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"])

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
    shared: str = Field(description="The job, with links to all that belongs to it.")


class GroupLinkBody(BaseModel):
    """A link that opens a comparison without a key."""

    expires_at: datetime
    shared: str = Field(description="The comparison, with links to all that belongs to it.")


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
    root, url = services.settings.root_path, job_url(job_id)

    def link_to(path: str) -> str:
        return root + sign_link(Link(f"{url}/{path}"), expires_at, secret)

    response.headers["Cache-Control"] = "no-store"
    return DownloadLinksBody(
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        stems=[StemLinkBody(name=stem.name, href=link_to(path_of("audio", stem.name))) for stem in manifest.stems],
        archive=link_to("archive.zip"),
        shared=link_to("shared"),
    )


@router.get("/shared", response_model=JobBody, summary="Open a shared job", responses=problems(404, 409, 422, 503))
async def get_shared_job(request: Request, job_id: JobId, services: GatewayServices, response: Response) -> Any:
    """The job as at its own address; its links open without a key as long as the one that led here."""
    job, _ = await finished_job(services, job_id)
    response.headers["Cache-Control"] = "no-store"
    return await _signed(request, services, job_body(job, services.settings.root_path))


@group_router.post(
    "/links", response_model=GroupLinkBody, summary="Make a link to a comparison", responses=problems(404, 422, 503)
)
async def make_group_link(
    group: GroupId,
    services: GatewayServices,
    caller: GatewayCaller,
    response: Response,
    seconds: Annotated[int | None, Query(ge=1, le=LONGEST_SECONDS, description="How long it shall work.")] = None,
) -> GroupLinkBody:
    """A link to the comparison that anybody can open, until it expires or the last of its jobs is erased."""
    jobs = await known_group(services, group, None if caller.sees_all else caller.owner)
    ends = time.time() + (seconds or services.settings.link_seconds)
    expires_at = int(min(ends, max(job.expires_at or ends for job in jobs)))
    response.headers["Cache-Control"] = "no-store"
    return GroupLinkBody(
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        shared=services.settings.root_path
        + sign_link(Link(f"{group_url(group)}/shared"), expires_at, await link_secret(services)),
    )


@group_router.get(
    "/shared", response_model=ComparisonBody, summary="Open a shared comparison", responses=problems(404, 422, 503)
)
async def get_shared_group(
    request: Request, group: GroupId, services: GatewayServices, caller: GatewayCaller, response: Response
) -> Any:
    """The comparison as at its own address; its links open without a key as long as the one that led here."""
    jobs = await known_group(services, group, None if caller.sees_all else caller.owner)
    response.headers["Cache-Control"] = "no-store"
    return await _signed(request, services, comparison_body(group, jobs, services))


async def _signed(request: Request, services: Services, body: BaseModel) -> Any:
    """The body with every address that a link may open turned into such a link.

    Signed is the path that the gateway sees, so that the link opens behind a proxy and beside it.
    """
    root = services.settings.root_path
    secret = await link_secret(services)
    until = request.query_params.get(EXPIRES) if request.query_params.get(SIGNATURE) else None
    expires_at = int(until or time.time() + services.settings.link_seconds)

    def sign(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: sign(part) for name, part in value.items()}
        if isinstance(value, list):
            return [sign(part) for part in value]
        if not isinstance(value, str) or not value.startswith((f"{root}/v1/jobs/", f"{root}/v1/groups/")):
            return value
        path, _, query = value.removeprefix(root).partition("?")
        if not is_linkable(path):
            return value
        return root + sign_link(Link(path, tuple(parse_qsl(query))), expires_at, secret)

    return sign(body.model_dump(mode="json"))
