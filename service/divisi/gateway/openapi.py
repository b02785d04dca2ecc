"""What the OpenAPI document says beyond what routes and models say: bodies of bytes, headers, problems, access."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from divisi.access.callers import is_linkable, scope_of
from divisi.contract.answers import EventBody
from divisi.contract.manifest import BarsBody, PitchBody
from divisi.contract.request import SeparationRequest
from divisi.gateway.answers import MEDIA_TYPE
from divisi.settings import Settings

DESCRIPTION = (
    "Separates a recording of a choir or an ensemble into one stem per voice or instrument. Submit a recording, follow "
    "the job by polling or by its events, download the stems. Errors are RFC 9457 problem documents: act on `code`."
)
PROBLEM_REFERENCE = {"$ref": "#/components/schemas/ProblemBody"}
_MEANINGS = {
    400: "The body or a header is malformed.",
    401: "No API key, or none that is known here (any more).",
    403: "The API key may not do this, or the link was changed.",
    404: "There is no such thing (any more).",
    408: "The body stopped coming.",
    409: "Not possible in the present state.",
    410: "The time of this link is over.",
    412: "It has changed since it was looked at.",
    413: "The recording is larger than this service accepts; answered while it is still being sent.",
    415: "The body is not audio, or not of a kind that is taken.",
    416: "The range holds none of the bytes there are.",
    422: "The request or the recording cannot be accepted; the same will be refused again.",
    429: "The caller has used up what callers are given: requests, unfinished jobs, or the day's uploads.",
    500: "Something went wrong on our side.",
    503: "Redis, the object store or room in the queue is missing; try again later.",
}
# How any operation may end, and how any that is guarded may refuse.
ANYWHERE, GUARDED = (422, 500), (401, 403, 429, 503)
_WITH_RETRY_AFTER = frozenset({409, 429, 503})
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until a try is worth while.", "schema": {"type": "integer"}}}
_TEXT = {"schema": {"type": "string"}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}

EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Resume after it with Last-Event-ID."},
        "event": {"enum": ["state", "progress"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventBody"},
        },
    },
    "required": ["id", "event", "data"],
}
JOB_LINKS = {
    operation: {"operationId": operation, "parameters": {"job_id": "$response.body#/id"}}
    for operation in ("get_job", "listen_to_job", "cancel_job", "erase_job", "get_archive")
}
IDEMPOTENCY_REPLAYED = {
    "description": "`true` when an earlier request with the same key had been answered with these jobs.",
    "schema": {"type": "string"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` entries for refusals with these statuses."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": PROBLEM_REFERENCE}},
            **({"headers": _RETRY_AFTER} if status in _WITH_RETRY_AFTER else {}),
        }
        for status in statuses
    }


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Parameters can be left out, but nothing in a URL or a header is null."""
    choices = [choice for choice in schema.pop("anyOf", []) if choice != {"type": "null"}]
    return {**schema, **choices[0]} if choices else schema


def _option_schemas() -> dict[str, dict[str, Any]]:
    """Schema of each option, as fields of a form and parameters have them: all in one piece and never null."""
    document = SeparationRequest.model_json_schema()
    schemas = {}
    for name, schema in document["properties"].items():
        schema = _never_null(schema)
        referred = document["$defs"][schema.pop("$ref").rpartition("/")[2]] if "$ref" in schema else {}
        plain = {**{key: referred[key] for key in ("type", "enum") if key in referred}, **schema}
        is_left_out = plain.get("default") in (None, [])
        schemas[name] = {key: plain[key] for key in plain if key != "title" and not (key == "default" and is_left_out)}
    return schemas


_OPTIONS = _option_schemas()

SUBMIT_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "The recording, or nothing where `source_url` says where it is: WAV, FLAC, OGG, MP3, AIFF and "
        "others, recognised by its bytes.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The recording. Give it several times for one mono file each microphone, in "
                            "the order of the channels: all of one rate and one length.",
                        },
                        **_OPTIONS,
                    },
                    "patternProperties": {
                        "^reference_[a-z0-9_-]{1,64}$": {
                            "type": "string",
                            "format": "binary",
                            "description": "The true source of a stem, such as `reference_soprano`, to score against: "
                            "of the recording's rate and length, mono or of its channels.",
                        }
                    },
                    "anyOf": [{"required": ["file"]}, {"required": ["source_url"]}],
                    "additionalProperties": False,
                },
                "encoding": {"file": {"contentType": "audio/*, application/octet-stream"}},
            },
            "application/octet-stream": _BYTES,
            "audio/*": _BYTES,
        },
    },
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"{schema['description']} For bare bodies; a form's own field goes before it.",
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in _OPTIONS.items()
    ],
}


def json_request(schema: str) -> dict[str, Any]:
    """The `requestBody` of an operation that reads its body itself, so that it can bound it."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"requestBody": {"required": True, "content": content}}


_FILE_HEADERS = {
    "ETag": {"description": "SHA-256 of the whole file, in quotes: a strong tag.", **_TEXT},
    "Accept-Ranges": _TEXT,
    "Content-Disposition": {"description": "Saves under the names of recording and file.", **_TEXT},
}
_NOT_MODIFIED = {"description": "The file is still the one of the tag sent.", "headers": {"ETag": _TEXT}}


def file_responses(media_type: str, schema: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """`responses` of a GET of one delivered file.

    Args:
        media_type: of the file.
        schema: of its content; None: bytes.
    """
    return {
        200: {
            "description": "The file.",
            "headers": _FILE_HEADERS,
            "content": {media_type: _BYTES if schema is None else {"schema": schema}},
        },
        206: {
            "description": "The range asked for.",
            "headers": {**_FILE_HEADERS, "Content-Range": _TEXT},
            "content": {media_type: _BYTES},
        },
        302: {"description": "The object store gives the file at an expiring link.", "headers": {"Location": _TEXT}},
        304: _NOT_MODIFIED,
    }


FILE_HEAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What a GET would answer, without the bytes.", "headers": _FILE_HEADERS},
    304: _NOT_MODIFIED,
}
ARCHIVE_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A ZIP file of all that was delivered, and `manifest.json`.",
        "headers": {"Content-Disposition": _TEXT},
        "content": {"application/zip": _BYTES},
    }
}


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
_REQUEST_ID = {"X-Request-ID": {"description": "Id of the request, yours or ours; our log has it.", **_TEXT}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What to show.", "schema": {"type": "string"}}}


def install_openapi(app: FastAPI, settings: Settings) -> None:
    """Makes `/openapi.json` complete: what routes and models do not say."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, settings)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(app: FastAPI, settings: Settings) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=app.servers or None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    event = EventBody.model_json_schema(ref_template="#/components/schemas/{model}")
    event.pop("$defs")  # all of them are components already, by way of JobBody
    schema["components"]["schemas"]["EventBody"] = event
    for body in (PitchBody, BarsBody):
        described = body.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= {body.__name__: described, **described.pop("$defs")}
    schema["components"]["securitySchemes"] = SCHEMES
    for template, operations in schema["paths"].items():
        for method, operation in operations.items():
            headers = _REQUEST_ID
            if template.startswith("/v1/") or template == "/metrics":
                _describe_access(operation, method, template, settings)
                headers = {**_RATE_LIMIT, **_REQUEST_ID}
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _never_null(parameter["schema"])
            for response in operation["responses"].values():
                response["headers"] = {**response.get("headers", {}), **headers}
    return schema


def _describe_access(operation: dict[str, Any], method: str, template: str, settings: Settings) -> None:
    """Adds what a guarded operation asks for, and how it refuses."""
    linkable = method in ("get", "head") and is_linkable(template)
    scope = scope_of(method.upper(), template)
    operation["security"] = [
        {KEY: [scope.value] if scope else []},
        *([{LINK: []}] if linkable else []),
        *([] if settings.require_keys else [{}]),
    ]
    if linkable:
        operation["responses"].setdefault("410", problems(410)[410])
    for status in ("401", "403"):
        operation["responses"][status]["headers"] = _CHALLENGE
