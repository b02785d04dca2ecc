"""What a worker says about itself: its state, the heartbeat file, its figures, and a server for probes and metrics.

Alive means that the loop turns, whatever Redis does. Ready means that the engine is warm on the device that was asked
for, and that Redis answered last time and took what the worker wrote. The figures are this worker's; what all workers
did together is counted in Redis and shown by the gateway (gateway/open_routes.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from divisi.queue.worker_side import WorkerState, WorkerStatus
from divisi.storage.store_health import StoreErrors
from divisi.timing import WorkFigures

# From a short song on a GPU to an hour's concert on one slow core.
JOB_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600)
FACTOR_BUCKETS = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Ending(StrEnum):
    """How an attempt ended; label of the worker's metrics."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    DEFERRED = "deferred"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    CANCELLED = "cancelled"


class WorkerMetrics:
    """The registry of one worker, and what is observed in it."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.claims = Counter("divisi_worker_claims", "Jobs taken from the queue.", ["lane"], registry=registry)
        self.attempts = Counter("divisi_worker_attempts", "Attempts by outcome.", ["outcome"], registry=registry)
        self.child_starts = Counter("divisi_worker_child_starts", "Starts of the engine's process.", registry=registry)
        self.ready = Gauge("divisi_worker_ready", "1 when the engine is warm and Redis answers.", registry=registry)
        self.busy = Gauge("divisi_worker_busy", "1 while there is a job at hand.", registry=registry)
        self.wait_seconds = Histogram(
            "divisi_job_wait_seconds",
            "From a job's submission to its first attempt.",
            ["lane"],
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self.job_seconds = Histogram(
            "divisi_job_seconds",
            "From a job's submission to its success.",
            ["lane"],
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self.attempt_seconds = Histogram(
            "divisi_worker_attempt_seconds",
            "Duration of attempts that succeeded.",
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "divisi_stage_seconds",
            "Time that a stage took in one attempt: download, inspect, decode, separate, encode, upload.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.real_time_factor = Histogram(
            "divisi_real_time_factor_ratio",
            "Seconds of work a second of audio.",
            buckets=FACTOR_BUCKETS,
            registry=registry,
        )
        self.batch_segments = Histogram(
            "divisi_engine_batch_segments",
            "Segments given to the engine at a time.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.store_errors = StoreErrors()
        registry.register(self.store_errors)
        self._child_store_failures = Counts[str]()
        self.store_errors.watch(self._child_store_failures)

    def observe_work(self, figures: WorkFigures) -> None:
        """Takes over what the engine's process measured at one assignment."""
        for stage, seconds in figures.stage_seconds.items():
            self.stage_seconds.labels(stage).observe(seconds)
        for size, times in figures.batches.items():
            for _ in range(times):
                self.batch_segments.observe(size)
        self._child_store_failures.update(figures.store_failures)


# Every wait of the loop is shorter: a claim from a Redis that hangs, a few answers of 2 s each, is the longest.
STALE_HEARTBEAT_SECONDS = 30.0


@dataclass
class WorkerHealth:
    """The state of one worker, written by its loop and read by the server's thread.

    Args:
        heartbeat_file: touched at each pulse, for probes that look at a file's age.
        engine: name, device and versions once the engine is warm; None before, and while a child starts again.
        problem: why the worker is not ready.
        job_id: the job at hand.
        attempts: how many ended since the worker started (at `started_at`, Unix seconds).
    """

    heartbeat_file: Path | None = None
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    engine: dict[str, Any] | None = None
    is_redis_away: bool = True
    are_writes_refused: bool = False
    is_draining: bool = False
    problem: str | None = "starting"
    job_id: str | None = None
    attempts: int = 0
    started_at: float = field(default_factory=time.time)
    _pulse_at: float = field(default_factory=time.monotonic)

    def pulse(self) -> None:
        """Notes that the loop turned."""
        self._pulse_at = time.monotonic()
        if self.heartbeat_file is not None:
            self.heartbeat_file.touch()

    @property
    def is_alive(self) -> bool:
        """True while the loop turns."""
        return time.monotonic() - self._pulse_at < STALE_HEARTBEAT_SECONDS

    @property
    def is_ready(self) -> bool:
        """True when this worker can work."""
        is_redis_well = not self.is_redis_away and not self.are_writes_refused
        return self.is_alive and self.engine is not None and is_redis_well and not self.is_draining

    def status(self, consumer: str) -> WorkerStatus:
        """What those see who watch the queue."""
        engine = self.engine or {}
        if self.is_draining:
            state = WorkerState.DRAINING
        elif self.job_id is not None:
            state = WorkerState.BUSY
        else:
            state = WorkerState.STARTING if self.engine is None else WorkerState.IDLE
        return WorkerStatus(
            consumer=consumer,
            state=state,
            started_at=self.started_at,
            engine=engine.get("name"),
            device=engine.get("device"),
            can_fit=engine.get("can_fit"),
            job_id=self.job_id,
            attempts=self.attempts,
            problem=None if self.engine else self.problem,
        )

    def report(self) -> dict[str, Any]:
        """What /readyz answers."""
        return {
            "ready": self.is_ready,
            "engine": self.engine,
            "redis": "away" if self.is_redis_away else "refuses writes" if self.are_writes_refused else "ok",
            "draining": self.is_draining,
            "problem": None if self.is_ready else self.problem,
        }


Environment = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds; they are not logged."""


def serve_health(health: WorkerHealth, port: int, host: str = "") -> int:
    """Serves /livez, /readyz and /metrics from a thread until the process ends. Returns the port (for port 0)."""
    server = make_server(host, port, _application(health), server_class=_Server, handler_class=_SilentHandler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.server_port


def _application(health: WorkerHealth) -> Callable[[Environment, StartResponse], Iterable[bytes]]:
    metrics = make_wsgi_app(health.metrics.registry)
    health.metrics.ready.set_function(lambda: float(health.is_ready))
    health.metrics.busy.set_function(lambda: float(health.job_id is not None))

    def answer(environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environment, start_response)
        if path == "/livez":
            is_well, body = health.is_alive, {"alive": health.is_alive}
        elif path == "/readyz":
            is_well, body = health.is_ready, health.report()
        else:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/livez /readyz /metrics\n"]
        start_response("200 OK" if is_well else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    return answer
