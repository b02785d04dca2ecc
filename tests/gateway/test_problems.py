"""Every refusal is a problem document with a request id; unforeseen errors tell nothing and are logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from divisi.contract.errors import (
    KINDS,
    ConflictError,
    DivisiError,
    InputError,
    ModelError,
    NotFoundError,
    UnavailableError,
    status_of,
)
from divisi.contract.job import Problem
from divisi.gateway.answers import job_problem

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

JOB = "/v1/jobs/01m82509an0z2za7kt3a89vjd6"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1/jobs/", 404, "not-found"),
        ("GET", "/redoc", 404, "not-found"),
        ("PUT", "/v1/jobs", 405, "method-not-allowed"),
        ("POST", "/livez", 405, "method-not-allowed"),
        ("GET", JOB, 404, "unknown-job"),
        ("GET", "/v1/jobs/short", 422, "invalid-request"),
        ("GET", f"{JOB}/stems/alto", 404, "unknown-job"),
        ("GET", "/v1/models/no-such-model", 404, "unknown-model"),
        ("GET", "/v1/jobs?limit=0", 422, "invalid-request"),
        ("GET", "/v1/jobs?limit=many", 422, "invalid-request"),
        ("GET", "/v1/jobs?cursor=../etc", 422, "invalid-request"),
        ("POST", f"{JOB}/cancel", 404, "unknown-job"),
        ("DELETE", JOB, 404, "unknown-job"),
    ],
)
def test_a_refusal_is_a_problem_document(method: str, path: str, status: int, code: str, http: httpx.Client) -> None:
    answer = http.request(method, path)
    body = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (body["code"], body["status"], body["type"]) == (code, status, f"urn:divisi:problem:{code}")
    assert body["instance"] == path.split("?")[0]
    assert body["request_id"] == answer.headers["x-request-id"]


def test_a_method_that_is_not_possible_names_those_that_are(http: httpx.Client) -> None:
    assert http.put("/v1/models").headers["allow"] == "GET"
    assert http.put("/v1/jobs").headers["allow"] == "GET, POST"
    assert http.put(f"{JOB}/stems/alto").headers["allow"] == "GET, HEAD"


def test_invalid_parameters_are_pointed_at(http: httpx.Client) -> None:
    body = http.get("/v1/jobs?limit=0&cursor=x").json()
    assert {error["pointer"] for error in body["errors"]} == {"/query/limit", "/query/cursor"}


def test_the_callers_request_id_is_kept_when_it_is_a_plain_token(http: httpx.Client) -> None:
    assert http.get("/livez", headers={"X-Request-ID": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    for unsafe in ("a b", "x" * 129, "a;b", '"'):
        given = http.get("/livez", headers={"X-Request-ID": unsafe}).headers["x-request-id"]
        assert given != unsafe
        assert len(given) == 32


def test_an_unforeseen_error_tells_the_caller_nothing_but_the_request_id(
    http: httpx.Client, gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("divisi.models.bundle.BundleStore.list", broken)
    answer = http.get("/v1/models", headers={"X-Request-ID": "req-1"})
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (500, "internal-error", "req-1")
    assert "swordfish" not in answer.text
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("RuntimeError: the password is swordfish") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), 422),
        (InputError("x", code="not-audio"), 415),
        (InputError("x", code="upload-too-large"), 413),
        (NotFoundError("x"), 404),
        (ConflictError("x"), 409),
        (ConflictError("x", code="idempotency-key-reused"), 422),
        (ModelError("x"), 500),
        (UnavailableError("x"), 503),
        (DivisiError("x"), 500),
    ],
)
def test_an_error_has_one_status(error: DivisiError, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [("reference-mismatch", 422, "caller"), ("not-audio", 415, "caller"), ("engine-failed", 500, "service")],
)
def test_a_failed_job_says_whose_fault_it_is(code: str, status: int, fault: str) -> None:
    shown = job_problem(Problem(code, "because"))
    assert (shown.status, shown.fault) == (status, fault)
    assert shown.advice == KINDS[code].advice
