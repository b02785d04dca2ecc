"""Errors as RFC 9457 problem documents. The only place that knows HTTP status codes of our errors.

A problem's `code` is the slug of the error, its `type` the same as a URN, its `title` the slug in words: all three
are stable. `detail` is for people and may change, `facts` carries the values (limits, known names) for machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from divisi.errors import (
    AccessError,
    ConflictError,
    DivisiError,
    InputError,
    LimitError,
    ModelError,
    NotFoundError,
    UnavailableError,
)
from divisi.jobs.job import Problem
from divisi.telemetry import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = {"idempotency-key-in-flight": 1, "queue-full": 30, "no-worker-for-model": 60}
RETRY_AFTER_OUTAGE_SECONDS = 5

STATUS_BY_CODE = {
    "malformed-upload": 400,
    "invalid-header": 400,
    "key-missing": 401,
    "key-invalid": 401,
    "key-expired": 401,
    "link-expired": 410,
    "upload-too-slow": 408,
    "upload-too-large": 413,
    "not-audio": 415,
    "unsupported-format": 415,
    "unsupported-media-type": 415,
    "range-not-satisfiable": 416,
    "idempotency-key-reused": 422,
}
# The caller's errors that only show while the job runs keep the status they would have had at the upload.
CALLER_CODES = frozenset(
    {
        "undecodable",
        "empty-audio",
        "invalid-sample-rate",
        "non-finite-samples",
        "samples-too-large",
        "audio-too-long",
        "audio-too-large",
        "too-many-channels",
        "unsupported-stem-format",
        "unknown-stem",
        "unknown-voice",
        "unsupported-channels",
        "voices-not-supported",
        "files-do-not-match",
        "fit-not-supported",
        "too-few-channels",
        "too-many-sources",
        "invalid-spot",
        "invalid-fit-option",
        "invalid-input",
    }
)
# RFC 6750: what a caller who was refused is told to show.
CHALLENGES = {
    "key-missing": 'Bearer realm="divisi"',
    "key-invalid": 'Bearer realm="divisi", error="invalid_token"',
    "key-expired": 'Bearer realm="divisi", error="invalid_token", error_description="expired"',
    "scope-missing": 'Bearer realm="divisi", error="insufficient_scope", scope="{scope}"',
}
STATUS_BY_CLASS: tuple[tuple[type[DivisiError], int], ...] = (
    (InputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnavailableError, 503),
    (AccessError, 403),
    (LimitError, 429),
    (ModelError, 500),
)


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    pointer: str = Field(description="Where: `/query/limit`, `/body/stems`, `/header/last-event-id`.")
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457 problem document; `code` is the part to act on."""

    model_config = ConfigDict(json_schema_extra={"title": "Problem"})

    type: str = Field(description="URN of the code.", examples=["urn:divisi:problem:audio-too-long"])
    title: str = Field(examples=["Audio too long"])
    status: int = Field(ge=100, le=599)
    detail: str = Field(examples=["the file lasts 12000 s; this service accepts 10800 s"])
    code: str = Field(description="Stable slug.", examples=["audio-too-long"])
    instance: str | None = Field(None, description="Path of the request.")
    request_id: str | None = Field(None, description="The X-Request-ID of the answer; name it when asking for help.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Values such as limits, by name.")
    errors: list[FieldProblem] = Field(default_factory=list, description="What is wrong where, for invalid requests.")


def status_of(error: DivisiError) -> int:
    """HTTP status that an error of our tree is answered with."""
    if error.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[error.code]
    return next((status for kind, status in STATUS_BY_CLASS if isinstance(error, kind)), 500)


def job_problem(problem: Problem) -> ProblemBody:
    """The problem of a failed job; its status is the one that the same error has for an upload, or 500."""
    status = STATUS_BY_CODE.get(problem.code, 422 if problem.code in CALLER_CODES else 500)
    return _body(problem.code, status, problem.message, problem.facts)


def problem_response(
    request: Request,
    code: str,
    status: int,
    detail: str,
    *,
    facts: Mapping[str, Any] | None = None,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document as the answer to a request."""
    body = _body(code, status, detail, dict(facts or {})).model_copy(
        update={
            "instance": getattr(request.state, "root_path", "") + request.url.path,
            "request_id": getattr(request.state, "request_id", None),
            "errors": errors or [],
        }
    )
    content = body.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def error_response(request: Request, error: DivisiError) -> JSONResponse:
    """The answer to a request that ended in one of our own errors; what is not the caller's fault is logged."""
    status = status_of(error)
    headers = {}
    if error.code in RETRY_AFTER_SECONDS or status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS.get(error.code, RETRY_AFTER_OUTAGE_SECONDS))
    if "retry_after_seconds" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after_seconds"])
    if isinstance(error, AccessError) and error.code in CHALLENGES:
        headers["WWW-Authenticate"] = CHALLENGES[error.code].format(**error.facts)
    if "content_range" in error.facts:
        headers["Content-Range"] = error.facts["content_range"]
    if status >= 500:
        log.error("request failed", code=error.code, reason=error.message, cause=repr(error.__cause__))
    return problem_response(request, error.code, status, error.message, facts=error.facts, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Makes every refusal of the app a problem document, those of the framework included."""
    app.add_exception_handler(DivisiError, _on_divisi_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_divisi_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DivisiError)
    return error_response(request, error)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldProblem(pointer="/" + "/".join(str(step) for step in problem["loc"]), detail=problem["msg"])
        for problem in error.errors()
    ]
    detail = "; ".join(f"{one.pointer}: {one.detail}" for one in errors)
    return problem_response(request, "invalid-request", 422, detail, errors=errors)


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
    return problem_response(request, code, error.status_code, detail, headers=headers)


def _body(code: str, status: int, detail: str, facts: dict[str, Any]) -> ProblemBody:
    title = code.replace("-", " ").capitalize()
    return ProblemBody(
        type=f"urn:divisi:problem:{code}", title=title, status=status, detail=detail, code=code, facts=facts
    )
