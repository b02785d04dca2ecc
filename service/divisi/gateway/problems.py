"""Errors as RFC 9457 problem documents. What a code means, its status among it, stands in `errors.KINDS`.

A problem's `code` is the slug of the error, its `type` the same as a URN, its `title` the slug in words: all three
are stable. `detail` is for people and may change, `facts` carries the values (limits, known names) for machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from divisi.contract.answers import FieldProblem, ProblemBody
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
from divisi.contract.job import Problem
from divisi.telemetry import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
# RFC 6750: what a caller who was refused is told to show.
CHALLENGES = {
    "key-missing": 'Bearer realm="divisi"',
    "key-invalid": 'Bearer realm="divisi", error="invalid_token"',
    "key-expired": 'Bearer realm="divisi", error="invalid_token", error_description="expired"',
    "scope-missing": 'Bearer realm="divisi", error="insufficient_scope", scope="{scope}"',
}


def job_problem(problem: Problem) -> ProblemBody:
    """The problem of a failed job; its status is the one that the same error has for an upload."""
    kind = kind_of(problem.code)
    return _body(problem.code, kind.status or status_of_class(kind.error), problem.message, problem.facts)


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
        facts=facts,
    )
