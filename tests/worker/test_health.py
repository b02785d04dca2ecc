from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from divisi.worker.health import STALE_HEARTBEAT_SECONDS, WorkerHealth, serve_health


def test_a_worker_is_ready_when_its_engine_is_warm_and_redis_answers() -> None:
    health = WorkerHealth()
    assert health.is_alive
    assert not health.is_ready
    health.engine = {"name": "onnx_runtime", "device": "cuda"}
    assert not health.is_ready
    health.is_redis_away = False
    assert health.is_ready
    health.is_draining = True
    assert not health.is_ready


def test_a_worker_whose_writes_are_refused_is_not_ready_and_says_so() -> None:
    health = WorkerHealth(engine={"name": "passthrough"}, is_redis_away=False, problem=None)
    health.are_writes_refused, health.problem = True, "Redis does not answer as it should: OOM"
    assert not health.is_ready
    assert health.report()["redis"] == "refuses writes"
    assert "OOM" in health.report()["problem"]
    health.are_writes_refused = False
    assert health.report()["redis"] == "ok"
    assert health.is_ready


def test_a_loop_that_stands_still_is_neither_alive_nor_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    health = WorkerHealth(engine={"name": "passthrough"}, is_redis_away=False)
    assert health.is_ready
    later = time.monotonic() + STALE_HEARTBEAT_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not health.is_alive
    assert not health.is_ready
    health.pulse()
    assert health.is_alive


def test_each_pulse_touches_the_heartbeat_file(tmp_path: Path) -> None:
    health = WorkerHealth(tmp_path / "alive")
    health.pulse()
    first = (tmp_path / "alive").stat().st_mtime_ns
    health.pulse()
    assert (tmp_path / "alive").stat().st_mtime_ns >= first


def test_probes_and_metrics_are_served() -> None:
    health = WorkerHealth(problem="device cuda is not there")
    health.metrics.attempts.labels("succeeded").inc()
    url = f"http://127.0.0.1:{serve_health(health, 0, '127.0.0.1')}"
    assert httpx.get(f"{url}/livez").status_code == 200
    not_ready = httpx.get(f"{url}/readyz")
    assert not_ready.status_code == 503
    assert not_ready.json()["problem"] == "device cuda is not there"
    health.engine, health.is_redis_away = {"name": "onnx_runtime", "device": "cuda"}, False
    ready = httpx.get(f"{url}/readyz")
    assert ready.status_code == 200
    assert json.loads(ready.text)["engine"]["device"] == "cuda"
    assert 'divisi_worker_attempts_total{outcome="succeeded"} 1.0' in httpx.get(f"{url}/metrics").text
    assert httpx.get(f"{url}/").status_code == 404
