"""Alive, ready, metrics, models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from divisi.contract.job import Problem
from divisi.gateway.open_routes import COUNTER_NAMES
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import COUNTERS
from divisi.queue.worker_side import RollCall, WorkerSide, WorkerState, WorkerStatus

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff


def samples(http: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_gateway_with_all_it_needs_is_ready(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "alive"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert {name: check["is_ready"] for name, check in ready.json()["checks"].items()} == {
        "redis": True,
        "store": True,
        "models": True,
    }


def test_requests_are_counted_by_route_and_never_by_path(http: httpx.Client) -> None:
    for job_id in ("01m82509an0z2za7kt3a89vjd6", "01m82509an0z2za7kt3a89vjd7"):
        http.get(f"/v1/jobs/{job_id}")
    http.get("/no/such/path")
    counted = {labels: value for (name, labels), value in samples(http).items() if name.endswith("_seconds_count")}
    assert counted[(("method", "GET"), ("route", "/v1/jobs/{job_id}"), ("status", "404"))] == 2
    assert counted[(("method", "GET"), ("route", "unmatched"), ("status", "404"))] == 1
    assert not [labels for labels in counted if "/no/such/path" in str(labels)]


def test_the_queue_is_measured_at_each_scrape(http: httpx.Client, song: bytes) -> None:
    for _ in range(2):
        http.post("/v1/jobs", files={"file": song}, data={"lane": "batch"})
    found = samples(http)
    assert found[("divisi_queue_jobs", (("lane", "batch"), ("state", "waiting")))] == 2
    assert found[("divisi_queue_jobs", (("lane", "interactive"), ("state", "waiting")))] == 0
    assert found[("divisi_queue_length", (("lane", "batch"),))] == 2
    assert found[("divisi_queue_oldest_seconds", (("lane", "batch"),))] > 0
    assert found[("divisi_queue_up", ())] == 1
    assert found[("divisi_gateway_upload_bytes_total", ())] == 2 * len(song)


@pytest.mark.anyio
async def test_what_the_queue_counted_and_who_works_is_told_at_each_scrape(
    http: httpx.Client, song: bytes, queue: JobQueue, gateway: Gateway, work_off: WorkOff
) -> None:
    roll_call = RollCall(queue.door)
    worker_side = WorkerSide(queue.door)
    for _ in range(2):
        http.post("/v1/jobs", files={"file": song})
    await work_off(queue, gateway.store)
    claim = await worker_side.claim("worker-2")
    assert claim is not None
    await worker_side.fail(claim, Problem("damaged-bundle", "The model is damaged."), is_dead_letter=True)
    await roll_call.announce(WorkerStatus("worker-1", WorkerState.IDLE, started_at=1.8e9))
    await roll_call.announce(WorkerStatus("worker-2", WorkerState.BUSY, started_at=1.8e9))
    found = samples(http)
    expected = {"jobs_accepted": 2, "claims": 2, "jobs_succeeded": 1, "jobs_failed": 1, "jobs_dead_lettered": 1}
    assert {name: found[(f"divisi_{name}_total", ())] for name in expected} == expected
    assert found[("divisi_leases_lost_total", ())] == 0
    assert found[("divisi_dead_letters", ())] == 1
    states = {state: found[("divisi_workers", (("state", state),))] for state in WorkerState}
    assert states == {"starting": 0, "idle": 1, "busy": 1, "draining": 0}


def test_every_count_of_the_queue_has_a_name_and_a_description() -> None:
    assert COUNTER_NAMES.keys() == COUNTERS.keys()


def test_a_store_that_is_away_is_counted(http: httpx.Client, gateway: Gateway, song: bytes) -> None:
    assert samples(http)[("divisi_store_errors_total", (("operation", "put"),))] == 0
    jobs = gateway.folder / "store" / "jobs"
    jobs.write_text("a file where a folder should be")
    assert http.post("/v1/jobs", files={"file": song}).status_code == 503
    assert samples(http)[("divisi_store_errors_total", (("operation", "put"),))] == 1


def test_models_are_listed_with_their_cards(http: httpx.Client, gateway: Gateway) -> None:
    body = http.get("/v1/models").json()
    assert body["default_model"] == "quartet"
    assert [card["id"] for card in body["models"]] == ["duo", "quartet"]
    assert body["models"][1]["stems"] == ["soprano", "alto", "tenor", "bass"]
    assert http.get("/v1/models/quartet").json() == body["models"][1]
