"""What a choir keeps with a job: passages, tempo, count-in; read by whoever has a link, changed by the owner."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway.keyed import KeyedGateway, keyed_gateway
from tests.gateway.test_access import BOTH, finished
from tests.gateway.test_pitch_routes import finish
from typer.testing import CliRunner

from divisi.access.key_ring import Scope
from divisi.cli.app import app
from divisi.client import AsyncClient, Client
from divisi.client import Rehearsal as Kept
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


def test_nobody_overwrites_what_they_have_not_seen(http: httpx.Client, job_url: str) -> None:
    address = f"{job_url}/rehearsal"
    seen = http.get(address).headers["etag"]
    kept = http.put(address, json=KEPT, headers={"If-Match": seen})
    assert kept.headers["etag"] == http.get(address).headers["etag"] != seen
    refused = http.put(address, json=NOTHING, headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["code"]) == (412, "rehearsal-changed")
    assert http.get(address).json() == KEPT
    assert http.put(address, json=NOTHING, headers={"If-Match": kept.headers["etag"]}).status_code == 200
    assert http.put(address, json=KEPT, headers={"If-Match": "*"}).status_code == 200


def test_what_is_kept_is_in_the_archive_and_only_then(http: httpx.Client, gateway: Gateway, job_url: str) -> None:
    def in_archive() -> list[str]:
        with zipfile.ZipFile(io.BytesIO(http.get(f"{job_url}/archive.zip").content)) as files:
            return [files.read(name).decode() for name in files.namelist() if name == "rehearsal.json"]

    assert in_archive() == []
    http.put(f"{job_url}/rehearsal", json=KEPT).raise_for_status()
    assert [json.loads(text) for text in in_archive()] == [KEPT]


def test_clients_and_command_line_add_to_what_others_keep(
    gateway: Gateway, http: httpx.Client, job_url: str, tmp_path: Path
) -> None:
    job_id = job_url.rsplit("/", 1)[1]

    def named(name: str) -> Callable[[Kept], Kept]:
        return lambda kept: {**kept, "passages": [*kept["passages"], {**AMEN, "name": name}]}

    with ThreadPoolExecutor() as pool, Client(gateway.url) as client:
        list(pool.map(lambda place: client.change_rehearsal(job_id, named(f"bar {place}")), range(8)))
        assert {passage["name"] for passage in client.rehearsal(job_id)["passages"]} == {f"bar {n}" for n in range(8)}

    async def one_more() -> Kept:
        async with AsyncClient(gateway.url) as client:
            await client.change_rehearsal(job_id, named("coda"))
            return await client.rehearsal(job_id)

    kept = asyncio.run(one_more())
    asked = ["rehearsal", job_id, "--server", gateway.url]
    printed = CliRunner().invoke(app, asked).stdout
    assert json.JSONDecoder().raw_decode(printed, printed.index("{\n"))[0] == kept  # the gateway logs there, too
    (tmp_path / "passages.json").write_text(json.dumps(KEPT))
    again = CliRunner().invoke(app, [*asked, "--keep", str(tmp_path / "passages.json")])
    assert (again.exit_code, http.get(f"{job_url}/rehearsal").json()) == (0, KEPT)
    (tmp_path / "passages.json").write_text('{"passages": [{"name": "Amen"}]}')
    refused = CliRunner().invoke(app, [*asked, "--keep", str(tmp_path / "passages.json")])
    assert refused.exit_code == 2
    assert "passages.0.start_seconds" in refused.output


def test_a_job_is_kept_and_let_go_by_clients_and_command_line(
    gateway: Gateway, http: httpx.Client, job_url: str
) -> None:
    job_id = job_url.rsplit("/", 1)[1]

    async def keep() -> bool:
        async with AsyncClient(gateway.url) as client:
            return (await client.keep(job_id))["is_kept"] and not (await client.stop_keeping(job_id))["is_kept"]

    assert asyncio.run(keep())
    with Client(gateway.url) as client:
        assert client.keep(job_id)["is_kept"]
        assert not client.stop_keeping(job_id)["is_kept"]
    for option, is_kept in (("--keep", True), ("--stop-keeping", False)):
        done = CliRunner().invoke(app, ["jobs", option, job_id, "--server", gateway.url])
        assert (done.exit_code, http.get(job_url).json()["is_kept"]) == (0, is_kept)


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
