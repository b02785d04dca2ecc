"""Files of a job over HTTP, all by one route: whole, in ranges, on conditions, or by a link of the object store.

Which files there are stands in `contract/files.py`; each row becomes a GET and a HEAD. Beside them the archive.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import Parameter, Signature
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from divisi.contract.card import LONGEST_NAME
from divisi.contract.errors import InputError, ModelError, NotFoundError
from divisi.contract.files import FILES, FileRole
from divisi.contract.job import Job
from divisi.contract.manifest import Manifest, ManifestFile
from divisi.contract.rehearsal import Rehearsal
from divisi.contract.tracks import MixOptions, check_length, track_of
from divisi.gateway.answers import job_body
from divisi.gateway.dependencies import GatewayServices, Services, in_query
from divisi.gateway.jobs import JobId
from divisi.gateway.on_demand import PracticeMix, all_mixes, finished_job, ready_mix, zip_answer, zip_of
from divisi.gateway.openapi import ARCHIVE_RESPONSE, FILE_HEAD_RESPONSES, file_responses, problems
from divisi.storage.names import content_disposition, legal_name, rehearsal_key
from divisi.tracks.shelf import TrackSet

router = APIRouter(prefix="/v1/jobs/{job_id}")

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,20})-(\d{0,20})[ \t]*")


@dataclass(frozen=True)
class _Found:
    job: Job
    file: ManifestFile


@dataclass(frozen=True)
class Conditions:
    """What a request's headers ask of a download."""

    range: Annotated[str | None, Header(alias="Range", description="One range of bytes.")] = None
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="Honour the range only if this is the file's tag.")
    ] = None
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="Answer 304 if this is the file's tag.")
    ] = None


def _add_file(row: FileRole, find: Callable[..., Awaitable[_Found]]) -> None:
    """Adds a GET and a HEAD for the files of one role.

    Args:
        find: dependency that gives the file asked for.
    """

    async def get_file(
        request: Request,
        services: GatewayServices,
        conditions: Annotated[Conditions, Depends()],
        found: _Found = Depends(find),
    ) -> Any:
        return await _answer(request, services, found, conditions, may_redirect=row.may_redirect)

    schema = {"$ref": f"#/components/schemas/{row.schema}"} if row.schema else None
    if row.media_type == "application/json":
        schema = schema or {"type": "object"}
    answers = {**file_responses(row.media_type, schema), **problems(416)}
    for method, name, summary, responses in (
        ("HEAD", f"look_at_{row.role}", f"Look at {row.noun}", FILE_HEAD_RESPONSES),
        ("GET", f"get_{row.role}", row.summary, answers),
    ):
        router.add_api_route(
            f"/{row.path}",
            get_file,
            methods=[method],
            name=name,
            summary=summary,
            description=row.description,
            tags=[row.tag],
            response_class=Response,
            responses={**responses, **problems(404, 409)},
        )


def _name_in_path(row: FileRole) -> Any:
    return Annotated[str, Path(max_length=LONGEST_NAME, description=row.parameter)]


def _stored(row: FileRole) -> Callable[..., Awaitable[_Found]]:
    """The dependency that finds a file which the job's record names."""

    async def find(services: Services, job_id: str, **parts: str) -> _Found:
        if row.maker == "caller":
            job, manifest = await services.queue.get(job_id), None
        else:
            job, manifest = await finished_job(services, job_id)
        files = _files_in(row, job, manifest)
        name = row.name_at(parts.get(row.variable or ""))
        for file in files:
            if file.name == name:
                return _Found(job, file)
        known = [file.name for file in files]
        message = row.missing_message.format(name=name, model=f"{job.model_id} {job.model_version}")
        message = f"{message}; it has {', '.join(known)}" if row.variable and known else message
        raise NotFoundError(message, code=row.missing, known=known)

    # FastAPI reads the parameters of a request off the signature.
    parameters = {"services": GatewayServices, "job_id": JobId}
    if row.variable:
        parameters[row.variable] = _name_in_path(row)
    find.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in parameters.items()]
    )
    return find


def _files_in(row: FileRole, job: Job, manifest: Manifest | None) -> Sequence[ManifestFile]:
    uploaded = {"recording": (job.recording,) if job.recording else (), "references": job.references}
    if manifest is None:
        return uploaded[row.held_in]
    resynthesis = (manifest.resynthesis,) if manifest.resynthesis else ()
    made = {
        "audio": (*manifest.stems, *resynthesis),
        "previews": manifest.previews,
        "pitch": manifest.pitch,
        "views": manifest.views,
    }
    return made[row.held_in]


async def _mix(
    services: GatewayServices,
    job_id: JobId,
    part: _name_in_path(FILES["mix"]),  # type: ignore[valid-type]
    asked: Annotated[MixOptions, in_query(MixOptions)],
) -> _Found:
    job, manifest = await finished_job(services, job_id)
    if not asked.is_track:
        mix = PracticeMix(job, manifest, part, asked.without, asked.lower_db)
        return _Found(job, await ready_mix(services, mix))
    check_length(job.duration_seconds, asked)
    track = track_of(part, asked.layout, [stem.name for stem in manifest.parts])
    (file,) = await services.tracks.ready(TrackSet(job, manifest, asked, (track,)))
    return _Found(job, file)


_ON_DEMAND = {"mix": _mix}
for _row in FILES.values():
    _add_file(_row, _ON_DEMAND[_row.role] if _row.is_on_demand else _stored(_row))


@router.get(
    "/archive.zip",
    summary="Download all stems",
    tags=["stems"],
    response_class=Response,
    responses={**ARCHIVE_RESPONSE, **problems(404, 409)},
)
async def get_archive(
    job_id: JobId,
    services: GatewayServices,
    mixes: Annotated[bool, Query(description="With all practice mixes; missing ones are made first.")] = False,
) -> Any:
    """All that was delivered and a `manifest.json` in one ZIP file, made while it is sent; audio is stored as it is."""
    job, manifest = await finished_job(services, job_id)
    made = [await ready_mix(services, mix) for mix in all_mixes(job, manifest)] if mixes else []
    files = [*manifest.files, *made]
    for file in files:
        await services.store.head(file.key)
    pieces = await _archive_of(services, job, files)
    return zip_answer(pieces, content_disposition(job.file_name, "stems.zip", job_id))


async def _archive_of(services: Services, job: Job, files: Sequence[ManifestFile]) -> AsyncIterable[bytes]:
    """The ZIP file of a finished job, piece by piece: what was delivered, or more, what the API says about it, and what
    is kept to rehearse from, if anything is.
    """
    body = job_body(job, services.settings.root_path)
    texts = {"manifest.json": body.model_dump_json(indent=2, exclude={"links"}).encode()}
    if (kept := await kept_rehearsal(services, job.job_id)) != Rehearsal():
        texts["rehearsal.json"] = kept.model_dump_json(indent=2).encode()
    ended_at = datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC)
    return zip_of(texts, {legal_name(file.file_name): file for file in files}, ended_at, services.store)


async def kept_rehearsal(services: Services, job_id: str) -> Rehearsal:
    """What is kept with a job to rehearse from; nothing until somebody keeps something."""
    try:
        return Rehearsal.model_validate_json(await services.store.get_bytes(rehearsal_key(job_id)))
    except NotFoundError:
        return Rehearsal()


async def _answer(
    request: Request, services: Services, found: _Found, conditions: Conditions, *, may_redirect: bool
) -> Response:
    """The answer to a GET or HEAD of one file. The entity tag is the SHA-256 of its bytes.

    Raises:
        InputError: code `range-not-satisfiable`.
        ModelError: code `damaged-stem`; the stored object is not what the manifest says.
        NotFoundError, UnavailableError: the store lacks it, or is away.
    """
    job, wanted = found.job, found.file
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
    seconds = services.settings.link_seconds
    link = await services.store.signed_url(wanted.key, seconds) if may_redirect else None
    if link is not None:
        return RedirectResponse(link, status_code=302, headers={"Cache-Control": "no-store"})
    stored = await services.store.head(wanted.key)
    if stored.size != wanted.bytes:
        raise ModelError(f"{wanted.name} is stored with {stored.size} of its {wanted.bytes} bytes", code="damaged-stem")
    honours_range = conditions.if_range is None or conditions.if_range.strip() == tag
    asked = parse_range(conditions.range, wanted.bytes) if honours_range else None
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


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The stretch (start, end; end exclusive) that a Range header asks for.

    Returns:
        None when there is nothing to honour: no header, another unit, several ranges, nonsense. RFC 9110 has all of
        these answered with the whole.

    Raises:
        InputError: `range-not-satisfiable`, when no byte lies in the range.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        message = f"{header!r} asks for nothing of the {size} bytes there are"
        raise InputError(message, code="range-not-satisfiable", content_range=f"bytes */{size}")
    return start, end


def matches_any(header: str | None, tag: str) -> bool:
    """True when an If-None-Match header lists the tag, weak or strong, or is `*`."""
    if header is None:
        return False
    listed = [item.strip().removeprefix("W/") for item in header.split(",")]
    return "*" in listed or tag in listed
