"""Headers that every answer carries: what browsers may do with it, and what the rate limit says. Plain ASGI.

Outermost layer of the app, so that no answer, not even that to an unforeseen error, goes without.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from divisi.settings import Settings, listed

HSTS = "max-age=31536000"
# What pages of the allowed origins may send and read. No cookies: callers are known by their key alone.
CROSS_ORIGIN: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "DELETE"],
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


class AnswerHeaders:
    """ASGI middleware; see the module's docstring. Routes leave their own in `request.state.answer_headers`."""

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
    """What browsers are told: our own page may run our own scripts and play our own audio, and nothing else."""
    stores = " ".join(["'self'", *_store_origins(settings)])
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
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
