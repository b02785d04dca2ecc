"""A comparison as a folder that opens from disk, over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from divisi.gateway.access import GatewayCaller
from divisi.gateway.comparison_folder import folder_of
from divisi.gateway.group_routes import GroupId, comparison_body, known_group
from divisi.gateway.openapi import ARCHIVE_RESPONSE, problems
from divisi.gateway.services import GatewayServices
from divisi.storage.file_names import content_disposition

router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"])


@router.get(
    "/folder.zip",
    summary="Download a comparison to open from disk",
    response_class=Response,
    responses={
        200: {**ARCHIVE_RESPONSE[200], "description": "A ZIP file; unpack it, open `index.html`."},
        **problems(404, 409, 422, 503),
    },
)
async def get_group_folder(group: GroupId, services: GatewayServices, caller: GatewayCaller) -> Any:
    """`index.html` with a player for every voice of every model, and all their audio: needs no service any more."""
    jobs = await known_group(services, group, None if caller.sees_all else caller.owner)
    body = comparison_body(group, jobs, services)
    pieces = await folder_of(jobs, body, services)
    disposition = content_disposition(jobs[0].file_name, "comparison.zip", group)
    return StreamingResponse(
        pieces,
        media_type="application/zip",
        headers={"Content-Disposition": disposition, "Cache-Control": "private, no-cache"},
    )
