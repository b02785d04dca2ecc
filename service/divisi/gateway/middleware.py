"""What surrounds every request, as plain ASGI, so that streamed bodies pass through untouched.

AnswerHeaders   what browsers may do with an answer, and what the rate limit says: on every one, whatever happened
RootPath        takes away the path in front of ours
RequestContext  the request's id, its line in the log, its time in the metrics, a last resort for unforeseen errors
"""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter as Counts
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from divisi.gateway.answers import problem_of, problem_response
from divisi.settings import Settings, listed
from divisi.storage.store_health import StoreErrors
from divisi.telemetry import Span, get_logger, span

log = get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
# Ours is used as it comes in logs and answers, so only plain tokens are taken over.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# nginx's status for a caller who left before the answer; only seen in our own log and metrics.
CALLER_LEFT = 499
# Asked for every few seconds.
UNTRACED_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
HSTS = "max-age=31536000"
# What pages of the allowed origins may send and read. No cookies: callers are known by their key alone.
CROSS_ORIGIN: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "DELETE"],
    "allow_headers": [
        *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID", "Range"),
        *("Traceparent", "X-Request-ID"),
        # Not looked at; sent along by tracing and by libraries, whose requests would not come at all without leave.
        *("Baggage", "Cache-Control", "Content-Disposition", "If-Match", "If-Modified-Since", "If-Unmodified-Since"),
        *("Pragma", "Tracestate", "X-Requested-With"),
    ],
    "expose_headers": [
        *("Accept-Ranges", "Allow", "Content-Disposition", "Content-Length", "Content-Range", "ETag"),
        *("Idempotency-Replayed", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"),
        "X-Request-ID",
    ],
    "max_age": 3600,
    # A page of the internet may call a service of the local network that names its origin.
    "allow_private_network": True,
}
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
# An upload of an hour of audio over a slow line takes minutes.
SECONDS_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)


class RequestContext:
    """Around a request: its id, one line in the log, its time in the metrics, and the answer to an unforeseen error."""

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
                answer = problem_response(Request(scope), problem_of("internal-error", 500, detail))
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


class AnswerHeaders:
    """Headers that every answer carries. Routes leave their own in `request.state.answer_headers`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._headers = security_headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**self._headers, **state.get("answer_headers", {})}.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


def security_headers(settings: Settings) -> dict[str, str]:
    """What browsers may do: our own pages run our own scripts and play our own audio, and nothing else."""
    stores = " ".join(["'self'", *_store_origins(settings)])
    policy = {
        "default-src": "'none'",
        "script-src": "'self' 'wasm-unsafe-eval'",  # the page transposes by WebAssembly
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "media-src": f"{stores} blob:",
        "connect-src": stores,
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "cross-origin" if listed(settings.cors_origins) else "same-origin",
    }
    if settings.behind_tls:
        headers["Strict-Transport-Security"] = HSTS
    return headers


def _store_origins(settings: Settings) -> list[str]:
    """Where downloads are redirected to: browsers hold redirects against the policy, too."""
    if not settings.store_url.startswith("s3://"):
        return []
    endpoint = settings.s3_public_endpoint or settings.s3_endpoint
    if endpoint is None:
        return ["https://*.amazonaws.com"]
    parts = urlsplit(endpoint)
    return [f"{parts.scheme}://{parts.netloc}"]


class RootPath:
    """Below a path of a proxy's (`DIVISI_ROOT_PATH`): requests with and without it in front are the same.

    Some proxies take the path away and some leave it; whoever stands beside them, a probe or a worker's neighbour,
    never had it. Routes, rates, logs and signed links know the path without; `request.state.root_path` is for addresses
    in answers. What proxies say of it in headers is not asked for: anybody can send those.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, root = scope["path"], self._root_path
            if path == root or path.startswith(f"{root}/"):
                path = path.removeprefix(root) or "/"
            # Not as the scope's own `root_path`: routes would take that away once more.
            scope = {**scope, "path": path}
            scope.setdefault("state", {})["root_path"] = root
        await self._app(scope, receive, send)


class GatewayMetrics:
    """The registry of one app; several apps in one process do not share counts."""

    def __init__(self, store_failures: Counts[str] | None = None) -> None:
        """
        Args:
            store_failures: what the app's object store counts.
        """
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "divisi_gateway_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["method", "route", "status"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._uploads = Counter(
            "divisi_gateway_upload_bytes", "Bytes of audio received in uploads.", registry=self.registry
        )
        self._mixes = Counter(
            "divisi_gateway_mixes",
            "Practice mixes that were asked for first here, made or refused.",
            ["outcome"],
            registry=self.registry,
        )
        store_errors = StoreErrors()
        store_errors.watch(Counts() if store_failures is None else store_failures)
        self.registry.register(store_errors)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request under its route's template, never under its path."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def observe_upload(self, num_bytes: int) -> None:
        """Counts the bytes of one upload."""
        self._uploads.inc(num_bytes)

    def count_mix(self, outcome: Literal["made", "refused"]) -> None:
        """Counts one practice mix that was not there yet."""
        self._mixes.labels(outcome).inc()
