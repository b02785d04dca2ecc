"""The OpenAPI document is valid, says what operations ask of callers, and is true under schemathesis' fire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.gateway.keyed import keyed_gateway
from tests.patience import PATIENCE_SECONDS

from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, WorkOff

PROBES = {"/livez", "/readyz"}
# Random bytes are no recording: a submit that fits the document may still be refused for what the bytes are.
# Reading operations also look at a job that has stems, not only at ids that nobody has.
CONFIGURATION = """
[[operations]]
include-name = "POST /v1/jobs"
checks.positive_data_acceptance.expected-statuses = [202, 415, 422]

[[operations]]
include-name = "PUT /v1/jobs/{{job_id}}/rehearsal"
checks.positive_data_acceptance.expected-statuses = [200, 401, 403, 404, 409, 412, 429]

[[operations]]
include-name-regex = "^(GET|HEAD) /v1/jobs/.*/(tracks.*|mixes/.*)"
checks.positive_data_acceptance.expected-statuses = [200, 206, 304, 404, 409, 416]

[operations.parameters]
"path.job_id" = "{job_id}"
"path.part" = "alto"
"query.choir" = "St. Cecilia"
"query.speed" = 80
"query.semitones" = 0

[[operations]]
include-name-regex = "^(GET|HEAD) /v1/jobs/.*"
checks.positive_data_acceptance.expected-statuses = [200, 206, 304, 416]

[operations.parameters]
"path.job_id" = "{job_id}"
"path.stem" = "alto"
"path.track" = "alto"
"path.part" = "alto"
"header.Last-Event-ID" = "0-0"
"""


@pytest.fixture
def document(http: httpx.Client) -> dict:
    return http.get("/openapi.json").json()


def test_the_document_is_valid_openapi(document: dict) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_every_operation_explains_itself_and_its_refusals(document: dict) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            for status, response in operation["responses"].items():
                assert response["description"], name
                assert "X-Request-ID" in response["headers"], name
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], name


def test_the_document_names_both_forms_of_an_upload(document: dict) -> None:
    submit = document["paths"]["/v1/jobs"]["post"]
    assert set(submit["requestBody"]["content"]) == {"multipart/form-data", "application/octet-stream", "audio/*"}
    fields = set(submit["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])
    query = {parameter["name"] for parameter in submit["parameters"] if parameter["in"] == "query"}
    assert fields == {"file", *query}


@pytest.mark.slow
def test_the_gateway_keeps_to_its_document(
    gateway: Gateway, http: httpx.Client, song: bytes, work_off: WorkOff, tmp_path: Path
) -> None:
    async def finish() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store, sings_again=True)

    files = {"file": ("Ave verum.wav", song), "reference_alto": ("alto.wav", song)}
    job_id = http.post("/v1/jobs", files=files).json()["id"]
    asyncio.run(finish())
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(job_id=job_id))
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(configuration)),
        *("run", f"{gateway.url}/openapi.json", "--seed", "1", "--max-examples", "10"),
        *("--phases", "examples,coverage,fuzzing", "--continue-on-failure"),
        *("--request-timeout", str(PATIENCE_SECONDS), "--generation-database", "none", "--no-color"),
    ]
    # Erasing comes last: it would take the job that the others look at.
    for selection in (["--exclude-method", "DELETE"], ["--include-method", "DELETE"]):
        report = subprocess.run(
            [*command, *selection],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            timeout=4 * PATIENCE_SECONDS,
        )
        assert report.returncode == 0, report.stdout[-8000:] + report.stderr[-2000:]


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
