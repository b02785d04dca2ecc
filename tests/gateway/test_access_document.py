"""The OpenAPI document says what each operation asks of callers and how it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.gateway.keyed import keyed_gateway

from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Serve

PROBES = {"/livez", "/readyz"}


def test_every_guarded_operation_names_its_scope_and_refusals(settings: Settings, serve: Serve) -> None:
    with keyed_gateway(settings, serve) as keyed, keyed.caller() as caller:
        document = caller.get("/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "signedLink"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method} {path}"
            if path in PROBES:
                assert "security" not in operation, name
                continue
            assert {} not in operation["security"], name
            assert {"401", "403", "429", "503"} <= set(operation["responses"]), name
            assert "WWW-Authenticate" in operation["responses"]["401"]["headers"], name
            assert "Retry-After" in operation["responses"]["429"]["headers"], name
            assert "RateLimit" in operation["responses"]["429"]["headers"], name
    scopes = {
        (method, path): operation["security"][0]["apiKey"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path not in PROBES
    }
    assert scopes[("get", "/v1/jobs")] == scopes[("post", "/v1/jobs/{job_id}/links")] == ["jobs:read"]
    assert scopes[("post", "/v1/jobs")] == scopes[("delete", "/v1/jobs/{job_id}")] == ["jobs:write"]
    assert scopes[("get", "/metrics")] == ["metrics"]
    assert scopes[("get", "/v1/models")] == []


def test_downloads_can_be_opened_by_a_link_and_nothing_else_can(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    linked = {
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if {"signedLink": []} in operation.get("security", [])
    }
    downloads = {"get /v1/jobs/{job_id}/stems/{stem}", "head /v1/jobs/{job_id}/stems/{stem}"}
    assert downloads | {"get /v1/jobs/{job_id}/archive.zip"} <= linked
    of_groups = {name for name in linked if "/v1/groups/" in name}
    assert of_groups == {f"get /v1/groups/{{group}}/{name}" for name in ("shared", "table.csv", "folder.zip")}
    assert all(name.startswith(("get /v1/jobs/{job_id}/", "head /v1/jobs/{job_id}/")) for name in linked - of_groups)
    assert "410" in document["paths"]["/v1/jobs/{job_id}/archive.zip"]["get"]["responses"]


def test_an_open_gateway_says_that_no_key_is_needed(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert {} in document["paths"]["/v1/jobs"]["get"]["security"]
