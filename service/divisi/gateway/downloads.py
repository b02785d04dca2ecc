"""How one delivered file is answered: whole, in ranges, on conditions, or by a link of the object store."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from divisi.errors import ModelError
from divisi.gateway.byte_ranges import matches_any, parse_range
from divisi.gateway.services import Services, in_time
from divisi.jobs.job import Job, ManifestFile
from divisi.storage.file_names import content_disposition


class Conditions:
    """What a request's headers ask of a download."""

    def __init__(
        self,
        range_header: Annotated[str | None, Header(alias="Range", description="One range of bytes.")] = None,
        if_range: Annotated[
            str | None, Header(alias="If-Range", description="Honour the range only if this is the file's tag.")
        ] = None,
        if_none_match: Annotated[
            str | None, Header(alias="If-None-Match", description="Answer 304 if this is the file's tag.")
        ] = None,
    ) -> None:
        self.range_header = range_header
        self.if_range = if_range
        self.if_none_match = if_none_match


AskedConditions = Annotated[Conditions, Depends()]


async def answer_file(
    request: Request,
    services: Services,
    job: Job,
    wanted: ManifestFile,
    conditions: Conditions,
    *,
    may_redirect: bool = True,
) -> Any:
    """The answer to a GET or HEAD of one file. The entity tag is the SHA-256 of its bytes.

    Args:
        may_redirect: False for small files that scripts read, which other origins may not let them.

    Raises:
        InputError: code `range-not-satisfiable`.
        ModelError: code `damaged-stem`; the stored object is not what the manifest says.
        NotFoundError, UnavailableError: the store lacks it, or is away.
    """
    tag = f'"{wanted.sha256}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(job.file_name, wanted.file_name, job.job_id),
    }
    if matches_any(conditions.if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(wanted.bytes)}, media_type=wanted.media_type)
    link = (
        await in_time(services.store.signed_url(wanted.key, services.settings.link_seconds), "store")
        if may_redirect
        else None
    )
    if link is not None:
        return RedirectResponse(link, status_code=302, headers={"Cache-Control": "no-store"})
    stored = await in_time(services.store.head(wanted.key), "store")
    if stored.size != wanted.bytes:
        raise ModelError(f"{wanted.name} is stored with {stored.size} of its {wanted.bytes} bytes", code="damaged-stem")
    honours_range = conditions.if_range is None or conditions.if_range.strip() == tag
    asked = parse_range(conditions.range_header, wanted.bytes) if honours_range else None
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
