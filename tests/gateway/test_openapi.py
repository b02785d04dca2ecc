"""The OpenAPI document is valid, and what the gateway does agrees with it under schemathesis' fire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.patience import PATIENCE_SECONDS

from divisi.door.redis_door import RedisDoor
from divisi.jobs.queue import JobQueue

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff

# Random bytes are no recording: a submit that fits the document may still be refused for what the bytes are.
# Reading operations also look at a job that has stems, not only at ids that nobody has.
CONFIGURATION = """
[[operations]]
include-name = "POST /v1/jobs"
checks.positive_data_acceptance.expected-statuses = [202, 415, 422]

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
