"""What the OpenAPI document says about access: how callers show who they are, and how they may be refused."""

from __future__ import annotations

from typing import Any

from divisi.access.caller import is_linkable, scope_of
from divisi.gateway.openapi import problems
from divisi.settings import Settings

KEY, LINK = "apiKey", "signedLink"
SCHEMES = {
    KEY: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "dv_…",
        "description": "An API key. The names after it in an operation are the scope that the key needs; `admin` has "
        "all of them. A key sees its own jobs only, `admin` everybody's.",
    },
    LINK: {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "A link made by `POST /v1/jobs/{job_id}/links`: the query's `expires` and `signature` open this "
        "one path until then, without a key.",
    },
}
_RATE_LIMIT = {
    "RateLimit-Policy": {
        "description": "What a caller may use: requests in a sliding minute, bytes uploaded in a day.",
        "schema": {"type": "string", "examples": ['"requests";q=600;w=60']},
    },
    "RateLimit": {
        "description": "How many requests are left, and seconds until there will be more.",
        "schema": {"type": "string", "examples": ['"requests";r=599;t=60']},
    },
}
_CHALLENGE = {"WWW-Authenticate": {"description": "What to show.", "schema": {"type": "string"}}}


def describe_access(document: dict[str, Any], settings: Settings) -> None:
    """Adds security schemes, and to each guarded operation what it asks for and how it refuses."""
    document["components"]["securitySchemes"] = SCHEMES
    for template, operations in document["paths"].items():
        if not template.startswith("/v1/") and template != "/metrics":
            continue
        for method, operation in operations.items():
            linkable = method in ("get", "head") and is_linkable(template)
            scope = scope_of(method.upper(), template)
            operation["security"] = [
                {KEY: [scope.value] if scope else []},
                *([{LINK: []}] if linkable else []),
                *([] if settings.require_keys else [{}]),
            ]
            responses = operation["responses"]
            for status, refusal in problems(401, 403, 429, 503, *((410,) if linkable else ())).items():
                responses.setdefault(str(status), refusal)
            for status in ("401", "403"):
                responses[status] = {**responses[status], "headers": _CHALLENGE}
            for response in responses.values():
                response["headers"] = {**response.get("headers", {}), **_RATE_LIMIT}
