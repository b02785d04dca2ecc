"""Dashboard, alerts and scrape configuration against what the code exposes and what Prometheus' own tool says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from divisi.contract.request import Lane
from divisi.gateway.middleware import GatewayMetrics
from divisi.gateway.open_routes import exposition
from divisi.queue.watching import LaneDepth, Overview
from divisi.timing import WorkFigures
from divisi.worker.health import WorkerMetrics

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "service" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "divisi.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_SELECTOR = re.compile(r"\b(divisi_\w+)(?:\{([^}]*)\})?")
_BY = re.compile(r"\bby \(([^)]*)\)")
_INFRASTRUCTURE_LABELS = {"instance", "job", "le"}


def exposed() -> dict[str, set[str]]:
    """Every sample that gateway and worker expose, with its labels."""
    gateway, worker = GatewayMetrics(), WorkerMetrics()
    gateway.observe_request("GET", "/v1/jobs", 200, 0.1)
    gateway.observe_upload(1)
    depth = {lane: LaneDepth(1, 1, 2, 3.0) for lane in Lane}
    worker.observe_work(WorkFigures({"separate": 1.0}, {1: 2}, {"put": 1}))
    worker.attempts.labels("succeeded").inc()
    worker.claims.labels("batch").inc()
    for histogram in (worker.wait_seconds, worker.job_seconds):
        histogram.labels("batch").observe(1)
    texts = [exposition(gateway, Overview(depth, {}, 0, ())).decode(), _text(worker.registry)]
    found: dict[str, set[str]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _text(registry: CollectorRegistry) -> str:
    from prometheus_client import generate_latest

    return generate_latest(registry).decode()


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Every PromQL expression of alerts and dashboard, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return found


@pytest.mark.parametrize("place", sorted(expressions()))
def test_every_series_that_is_asked_for_is_exposed_with_the_labels_asked_for(place: str) -> None:
    expression, known = expressions()[place], exposed()
    selectors = _SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert name in known, f"{name} is not exposed"
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert asked <= known[name] | _INFRASTRUCTURE_LABELS, f"{name} has no labels {asked - known[name]}"
    grouped_by = {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")}
    assert grouped_by <= set().union(*(known[name] for name, _ in selectors)) | _INFRASTRUCTURE_LABELS


def test_units_stand_in_the_names_and_counters_end_in_total() -> None:
    for name in exposed():
        assert name.startswith("divisi_")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)(_|$)", name), name
    for registry in (GatewayMetrics().registry, WorkerMetrics().registry):
        for family in text_string_to_metric_families(_text(registry)):
            if family.type == "counter":
                assert {sample.name for sample in family.samples} <= {
                    f"{family.name}_total",
                    f"{family.name}_created",
                }


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_place_in_the_operations_page(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operations.md"
    assert anchor in [heading.strip().lower() for heading in re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)]


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool comes with Debian's prometheus; tests/system_packages.sh installs it")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", FOLDER / "prometheus.yml"),
        ("check", "rules", "--lint-fatal", FOLDER / "alerts.yml"),
        ("test", "rules", Path(__file__).parent / "alerts_test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_prometheus_own_tool_is_content(promtool: str, arguments: tuple[str | Path, ...]) -> None:
    run = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_exposed_has_names_that_prometheus_own_tool_accepts(promtool: str) -> None:
    for text in (exposition(GatewayMetrics(), None), _text(WorkerMetrics().registry).encode()):
        run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
        assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()
