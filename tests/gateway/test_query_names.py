"""Queries: what an operation does not take is refused, on reads as on submits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from tests.gateway.keyed import BOTH, keyed_gateway

from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Serve

ID = "0" * 26
UNKNOWN = {"unheard_of": "1"}


def pointers(answer: httpx.Response) -> list[str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), answer.url
    return [error["pointer"] for error in answer.json()["errors"]]


def test_every_operation_refuses_what_it_does_not_take_and_names_it(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    values = {"{job_id}": ID, "{group}": ID, "{stem}": "alto", "{track}": "alto", "{part}": "alto"}
    num_operations = 0
    for template, operations in paths.items():
        path = template
        for name, value in values.items():
            path = path.replace(name, value)
        for method in operations:
            answer = http.request(method, path, params=UNKNOWN)
            assert answer.status_code == 422, (method, template)
            if method != "head":
                assert pointers(answer) == ["/query/unheard_of"]
            num_operations += 1
    assert num_operations > 30


@pytest.mark.parametrize(
    "path",
    [
        *("/openapi.json", "/page/main.js", "/page/options.json", "/page/sample/chorale.flac"),
        *("/docs/reference.js", "/docs/swagger-ui.css"),
    ],
)
def test_files_that_the_document_does_not_name_refuse_it_too(path: str, http: httpx.Client) -> None:
    assert http.get(path).status_code == 200
    assert pointers(http.get(path, params=UNKNOWN)) == ["/query/unheard_of"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_open_whatever_is_added_to_links_that_people_pass_on(path: str, http: httpx.Client) -> None:
    assert http.get(path, params={"utm_source": "newsletter"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/jobs", "cursor, limit, group"),
        (f"/v1/jobs/{ID}/mixes/alto", "speed, semitones, format, choir, layout, without, lower_db"),
        ("/livez", "none"),
    ],
)
def test_the_refusal_says_what_there_is(path: str, known: str, http: httpx.Client) -> None:
    assert f"there are: {known}" in http.get(path, params=UNKNOWN).json()["detail"]


def test_a_parameter_given_twice_is_refused_not_guessed(http: httpx.Client) -> None:
    assert pointers(http.get("/v1/jobs?limit=1&limit=2")) == ["/query/limit"]
    assert http.get("/v1/jobs?limit=1").status_code == 200


def test_a_misspelt_option_of_a_submit_is_refused_before_its_body_is_read(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs?stem_fromat=flac&model=quartet&model=duo", content=b"no recording at all")
    assert pointers(answer) == ["/query/stem_fromat"]


def test_only_downloads_take_the_parameters_of_signed_links(http: httpx.Client) -> None:
    assert pointers(http.get("/v1/jobs?expires=1&signature=")) == ["/query/expires", "/query/signature"]
    assert http.get(f"/v1/jobs/{ID}/stems/alto?expires=1&signature=").json()["code"] == "unknown-job"


def test_who_calls_is_asked_before_what_is_asked(settings: Settings, serve: Serve) -> None:
    with keyed_gateway(settings, serve) as keyed:
        with keyed.caller() as nobody:
            assert nobody.get("/v1/jobs", params=UNKNOWN).status_code == 401
        with keyed.caller(keyed.make_key(*BOTH)) as caller:
            assert pointers(caller.get("/v1/jobs", params=UNKNOWN)) == ["/query/unheard_of"]
