"""Alive, ready, metrics, models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway


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
    assert found[("divisi_queue_depth", (("lane", "batch"),))] == 2
    assert found[("divisi_queue_depth", (("lane", "interactive"),))] == 0
    assert found[("divisi_queue_oldest_seconds", (("lane", "batch"),))] > 0
    assert found[("divisi_queue_up", ())] == 1
    assert found[("divisi_gateway_upload_bytes_total", ())] == 2 * len(song)


def test_models_are_listed_with_their_cards(http: httpx.Client, gateway: Gateway) -> None:
    body = http.get("/v1/models").json()
    assert body["default_model"] == "quartet"
    assert [card["id"] for card in body["models"]] == ["duo", "quartet"]
    assert body["models"][1]["stems"] == ["soprano", "alto", "tenor", "bass"]
    assert http.get("/v1/models/quartet").json() == body["models"][1]
