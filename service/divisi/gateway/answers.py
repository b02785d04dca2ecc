"""What the API answers: jobs, made from their records, and errors as RFC 9457 problem documents.

A problem's `code` is the slug of the error, its `type` the same as a URN, its `title` the slug in words: all three
are stable. `detail` is for people and may change, `facts` carries the values (limits, known names) for machines. What a
code means, its status among it, stands in `errors.KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from divisi.contract.answers import (
    FieldProblem,
    FileBody,
    InputBody,
    JobBody,
    LinksBody,
    MixBody,
    PreviewBody,
    ProblemBody,
    ReportBody,
    ScoreBody,
    StemBody,
    TrackBody,
    TrackImageBody,
    TrackSetBody,
    ViewsBody,
)
from divisi.contract.errors import (
    KINDS,
    OUTAGE_SECONDS,
    AccessError,
    DivisiError,
    InputError,
    Kind,
    ModelError,
    kind_of,
    status_of,
    status_of_class,
)
from divisi.contract.files import FILES, RecordList, path_of
from divisi.contract.job import Job, JobState, Problem
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem, StemScore
from divisi.contract.tracks import ALL, Layout, TrackOptions
from divisi.telemetry import get_logger
from divisi.tracks.shelf import Standing, TrackSet

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
# RFC 6750: what a caller who was refused has to show.
CHALLENGES = {
    "key-missing": 'Bearer realm="divisi"',
    "key-invalid": 'Bearer realm="divisi", error="invalid_token"',
    "key-expired": 'Bearer realm="divisi", error="invalid_token", error_description="expired"',
    "scope-missing": 'Bearer realm="divisi", error="insufficient_scope", scope="{scope}"',
}


def job_problem(problem: Problem) -> ProblemBody:
    """The problem of a failed job; its status is the one that the same error has for an upload."""
    kind = kind_of(problem.code)
    return problem_of(problem.code, kind.status or status_of_class(kind.error), problem.message, problem.facts)


def problem_of(code: str, status: int, detail: str, facts: Mapping[str, Any] | None = None) -> ProblemBody:
    """The document for an error."""
    # The framework's own codes, such as `method-not-allowed`, are not in the table: the status says whose fault it is.
    kind = KINDS.get(code) or Kind(InputError if status < 500 else ModelError)
    return ProblemBody(
        type=f"urn:divisi:problem:{code}",
        title=code.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        fault=kind.fault,
        advice=kind.advice,
        facts=dict(facts or {}),
    )


def problem_response(
    request: Request,
    problem: ProblemBody,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldProblem] = (),
) -> JSONResponse:
    """A problem document as the answer to a request; `errors` says what is wrong where."""
    about = {
        "instance": getattr(request.state, "root_path", "") + request.url.path,
        "request_id": getattr(request.state, "request_id", None),
        "errors": list(errors),
    }
    content = problem.model_copy(update=about).model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Makes every refusal of the app a problem document, those of the framework included."""
    app.add_exception_handler(DivisiError, _on_divisi_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_divisi_error(request: Request, error: Exception) -> JSONResponse:
    """One of our own errors; what is not the caller's fault is logged."""
    assert isinstance(error, DivisiError)
    status = status_of(error)
    headers = {}
    retry_seconds = error.facts.get("retry_after_seconds", kind_of(error.code).retry_seconds)
    if retry_seconds is None and status == 503:
        retry_seconds = OUTAGE_SECONDS
    if retry_seconds is not None:
        headers["Retry-After"] = str(retry_seconds)
    if isinstance(error, AccessError) and error.code in CHALLENGES:
        headers["WWW-Authenticate"] = CHALLENGES[error.code].format(**error.facts)
    if "content_range" in error.facts:
        headers["Content-Range"] = error.facts["content_range"]
    if status >= 500:
        log.error("request failed", code=error.code, reason=error.message, cause=repr(error.__cause__))
    return problem_response(request, problem_of(error.code, status, error.message, error.facts), headers)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldProblem(pointer="/" + "/".join(str(step) for step in problem["loc"]), detail=problem["msg"])
        for problem in error.errors()
    ]
    detail = "; ".join(f"{one.pointer}: {one.detail}" for one in errors)
    return problem_response(request, problem_of("invalid-request", 422, detail), errors=errors)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "-")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        # Several routes may share a path; the framework names the methods of the first one only.
        template = getattr(request.scope.get("route"), "path", "")
        methods = request.app.openapi()["paths"].get(template, {})
        headers["Allow"] = ", ".join(sorted(method.upper() for method in methods)) or headers.get("Allow", "")
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not possible at {request.url.path}",
    }.get(error.status_code, phrase)
    return problem_response(request, problem_of(code, error.status_code, detail), headers)


def job_url(job_id: str) -> str:
    """Path of a job's resource."""
    return f"/v1/jobs/{job_id}"


def group_url(group: str) -> str:
    """Path of a comparison."""
    return f"/v1/groups/{group}"


def job_body(job: Job, root: str, position: int | None = None, eta_seconds: float | None = None) -> JobBody:
    """A job as the API shows it; `root` is the path in front of its addresses, `Settings.root_path`."""
    url = f"{root}{job_url(job.job_id)}"
    manifest = job.manifest if job.state is JobState.SUCCEEDED else None
    return JobBody(
        id=job.job_id,
        state=job.state,
        progress=job.progress,
        stage=job.stage,
        position=position,
        eta_seconds=eta_seconds,
        attempt=job.attempt,
        model=job.model_id,
        model_version=job.model_version,
        **job.job_options(),
        requested_stems=list(job.stems) if job.stems is not None else None,
        fit=job.fit,
        requested_voices=list(job.voices) if isinstance(job.voices, tuple) else job.voices,
        group=job.group,
        file_name=job.file_name,
        input=_input_body(manifest.audio if manifest else job.audio),
        submitted_at=job.submitted_at,  # Unix seconds, which pydantic reads
        started_at=job.started_at or None,
        ended_at=job.ended_at or None,
        expires_at=job.expires_at or None,
        is_kept=job.is_kept,
        **(_made(job, root, manifest) if manifest else {}),
        recording=_file_body(url, "recording", job.recording) if job.recording else None,
        problem=job_problem(job.problem) if job.problem and job.state is JobState.FAILED else None,
        links=LinksBody(
            self=url,
            events=f"{url}/events",
            archive=f"{url}/archive.zip" if manifest else None,
            rehearsal=f"{url}/rehearsal" if manifest else None,
            tracks=f"{url}/tracks" if manifest else None,
        ),
    )


def _made(job: Job, root: str, manifest: Manifest) -> dict[str, Any]:
    """The fields of a job that succeeded."""
    url = f"{root}{job_url(job.job_id)}"
    return {
        "stems": [_stem_body(url, stem, manifest) for stem in manifest.stems],
        "resynthesis": _stem_body(url, manifest.resynthesis, manifest) if manifest.resynthesis else None,
        "pitch": [_file_body(url, "pitch", file) for file in manifest.pitch],
        "views": _views_body(url, manifest) if manifest.views else None,
        "confidence": list(manifest.confidence),
        "scores": [_score_body(job, root, score) for score in manifest.scores],
        "mixes": [_mix_body(url, stem.name) for stem in manifest.parts],
        "report": ReportBody.model_validate(manifest, from_attributes=True),
    }


def _input_body(facts: dict[str, Any]) -> InputBody:
    body = InputBody.model_validate(facts)
    if body.duration_seconds is None and body.num_samples is not None and body.sample_rate:
        return body.model_copy(update={"duration_seconds": body.num_samples / body.sample_rate})
    return body


def _stem_body(url: str, stem: ManifestStem, manifest: Manifest) -> StemBody:
    name = FILES["preview"].name_at(stem.name)
    previews = [
        PreviewBody(**asdict(file), href=f"{url}/{path_of('previews', name)}")
        for file in manifest.previews
        if file.name == name
    ]
    preview = previews[0] if previews else None
    return StemBody(**asdict(stem), href=f"{url}/{path_of('audio', stem.name)}", preview=preview)


def _file_body(url: str, held_in: RecordList, file: ManifestFile) -> FileBody:
    return FileBody(**asdict(file), href=f"{url}/{path_of(held_in, file.name)}")


def reference_bodies(job: Job, root: str) -> list[FileBody]:
    """The true sources that came with the recording."""
    url = f"{root}{job_url(job.job_id)}"
    return [_file_body(url, "references", reference) for reference in job.references]


def _score_body(job: Job, root: str, score: StemScore) -> ScoreBody:
    by_name = {body.name: body for body in reference_bodies(job, root)}
    return ScoreBody(**asdict(score), reference=by_name.get(score.stem))


def _views_body(url: str, manifest: Manifest) -> ViewsBody:
    image = FILES["spectrogram"]
    tracks = [(image.value_in(file.name), f"{url}/{image.path_of(file.name)}") for file in manifest.views]
    alone = {row.path.partition(".")[0]: f"{url}/{row.path}" for row in FILES.values() if row.is_one_view}
    return ViewsBody(
        **alone, spectrograms=[TrackImageBody(name=track, href=href) for track, href in tracks if track is not None]
    )


def _mix_body(url: str, part: str) -> MixBody:
    mix = f"{url}/{FILES['mix'].path_of(part)}"
    return MixBody(part=part, in_front=mix, without=f"{mix}?without=true")


def track_set_body(wanted: TrackSet, standing: Standing, root: str) -> TrackSetBody:
    """Learning tracks as far as they are."""
    url = f"{root}{job_url(wanted.job.job_id)}"
    asked = wanted.options.model_dump(mode="json", exclude_defaults=True)
    alike = {name: asked[name] for name in TrackOptions.model_fields if name in asked}
    files: Sequence[ManifestFile | None] = standing.files or [None] * len(wanted.tracks)
    tracks = [
        TrackBody(
            part=track.part,
            layout=track.layout,
            title=track.title,
            file_name=track.file_name(wanted.options),
            href=f"{url}/{FILES['mix'].path_of(track.part or ALL)}?"
            + urlencode({"layout": track.layout or Layout.FRONT, **alike}),
            bytes=file.bytes if file else None,
            sha256=file.sha256 if file else None,
        )
        for track, file in zip(wanted.tracks, files, strict=True)
    ]
    query = urlencode({name: ",".join(value) if isinstance(value, list) else value for name, value in asked.items()})
    return TrackSetBody(
        state="ready" if standing.files else "making",
        progress=standing.progress,
        tracks=tracks,
        archive=f"{url}/tracks.zip{f'?{query}' if query else ''}",
    )
