"""What a choir keeps with a job: passages, tempo, count-in; read by whoever has a link, changed by the owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway.keyed import KeyedGateway, keyed_gateway
from tests.gateway.test_access import BOTH, finished
from tests.gateway.test_pitch_routes import finish

from divisi.access.key_ring import Scope
from divisi.contract.rehearsal import MOST_BYTES, MOST_PASSAGES, Passage, Rehearsal

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, WorkOff

    from divisi.settings import Settings

AMEN = {"name": "Amen", "start_seconds": 1.5, "duration_seconds": 2.5}
KEPT = {"passages": [AMEN], "beats_per_minute": 72.0, "count_in_beats": 4}
NOTHING = {"passages": [], "beats_per_minute": None, "count_in_beats": 0}


@pytest.fixture
def job_url(http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff) -> str:
    return finish(http, song, gateway, work_off, sings_again=False)


def test_what_is_kept_is_read_again_and_erased_with_the_job(http: httpx.Client, gateway: Gateway, job_url: str) -> None:
    address = http.get(job_url).json()["links"]["rehearsal"]
    assert http.get(address).json() == NOTHING
    assert http.put(address, json=KEPT).json() == KEPT
    assert http.get(address).json() == KEPT
    assert http.put(address, json=NOTHING).json() == NOTHING  # as a whole
    assert http.get(address).json() == NOTHING
    assert http.delete(job_url).status_code == 204
    assert http.get(address).json()["code"] == "unknown-job"
    assert gateway.objects() == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"passages": [{**AMEN, "duration_seconds": 0}]}, "/body/passages/0/duration_seconds"),
        ({"passages": [{**AMEN, "name": " "}]}, "/body/passages/0/name"),
        ({"passages": [{**AMEN, "start_seconds": -1}]}, "/body/passages/0/start_seconds"),
        ({"passages": [AMEN] * (MOST_PASSAGES + 1)}, "/body/passages"),
        ({"beats_per_minute": 5}, "/body/beats_per_minute"),
        ({"count_in_beats": 99}, "/body/count_in_beats"),
        ({"bars": 3}, "/body/bars"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    http: httpx.Client, job_url: str, body: dict[str, Any], pointer: str
) -> None:
    answer = http.put(f"{job_url}/rehearsal", json=body)
    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["errors"]] == [pointer]
    assert http.get(f"{job_url}/rehearsal").json() == NOTHING


def test_all_that_may_be_kept_fits_and_more_is_refused_while_it_comes(http: httpx.Client, job_url: str) -> None:
    longest = Passage(name="\N{MUSICAL SYMBOL G CLEF}" * 80, start_seconds=1 / 3, duration_seconds=86399.9999)
    body = Rehearsal(passages=[longest] * MOST_PASSAGES).model_dump_json()
    assert http.put(f"{job_url}/rehearsal", content=body).status_code == 200
    refused = http.put(f"{job_url}/rehearsal", content=b" " * (MOST_BYTES + 1))
    assert (refused.status_code, refused.json()["code"]) == (413, "rehearsal-too-large")
    assert http.put(f"{job_url}/rehearsal", content=b"{").status_code == 422


@pytest.fixture
def keyed(settings: Settings, serve: Serve) -> Iterator[KeyedGateway]:
    with keyed_gateway(settings, serve) as keyed:
        yield keyed


def test_a_link_shows_it_and_changes_nothing(keyed: KeyedGateway, song: bytes, work_off: WorkOff) -> None:
    key, reader, other = keyed.make_key(*BOTH), keyed.make_key(Scope.JOBS_READ), keyed.make_key(*BOTH)
    url = finished(keyed, key, song, work_off)
    with keyed.caller(key) as owner, keyed.caller() as visitor:
        assert owner.put(f"{url}/rehearsal", json=KEPT).status_code == 200
        shared = visitor.get(owner.post(f"{url}/links").json()["shared"]).json()["links"]["rehearsal"]
        assert visitor.get(shared).json() == KEPT
        assert visitor.put(shared, json=NOTHING).status_code == 401
    for wrong, status in ((reader, 403), (other, 404)):
        with keyed.caller(wrong) as caller:
            assert caller.put(f"{url}/rehearsal", json=NOTHING).status_code == status
