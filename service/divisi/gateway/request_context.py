"""Around every request: its id, one line in the log, its time in the metrics, and a last resort for unforeseen errors.

Outermost layer of the app, plain ASGI so that streamed bodies pass through untouched.
"""

from __future__ import annotations

import re
import time
import uuid
from contextlib import AbstractContextManager, nullcontext

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from divisi.gateway.gateway_metrics import GatewayMetrics
from divisi.gateway.problems import problem_response
from divisi.telemetry import Span, get_logger, span

log = get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
# Ours is used as it comes in logs and answers, so only plain tokens are taken over.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# nginx's status for a caller who left before the answer; only seen in our own log and metrics.
CALLER_LEFT = 499
# Asked for every few seconds.
UNTRACED_PATHS = frozenset({"/livez", "/readyz", "/metrics"})


class RequestContext:
    """ASGI middleware; see the module's docstring."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        started = time.perf_counter()
        with (
            _traced(scope, request_id) as now,
            structlog.contextvars.bound_contextvars(request_id=request_id),
        ):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = CALLER_LEFT
            except Exception:
                log.exception("unforeseen error", path=scope["path"])
                if status is not None:
                    return  # too late for another answer: the server breaks the connection off
                detail = "something went wrong on our side; the request id names it in our log"
                answer = problem_response(Request(scope), "internal-error", 500, detail)
                await answer(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")
                self._metrics.observe_request(scope["method"], route, status or CALLER_LEFT, seconds)
                now.answered(scope["method"], route, status or CALLER_LEFT)
                log.info(
                    "request",
                    **_job_of(scope),
                    method=scope["method"],
                    path=scope["path"],
                    status=status or CALLER_LEFT,
                    milliseconds=round(seconds * 1000, 1),
                )


def _traced(scope: Scope, request_id: str) -> AbstractContextManager[Span]:
    """A span around the request, within the caller's own if it sent a `traceparent`; probes and scrapes have none."""
    if scope["path"] in UNTRACED_PATHS:
        return nullcontext(Span())
    parent = Headers(scope=scope).get("traceparent")
    return span(scope["method"], parent=parent, kind="server", request_id=request_id)


def _job_of(scope: Scope) -> dict[str, str]:
    """The id of the job that the path names, if it does."""
    job_id = scope.get("path_params", {}).get("job_id")
    return {"job_id": job_id} if job_id else {}
