"""What a worker says about itself: its state, its figures for Prometheus, the heartbeat file, and a small HTTP server.

Alive means that the loop turns, whatever Redis does. Ready means that the engine is warm on the device that was asked
for, and that Redis answered last time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app

# Every wait of the loop is shorter: a socket timeout of 5 s with one retry is the longest.
STALE_HEARTBEAT_SECONDS = 30.0


class WorkerMetrics:
    """Figures of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Counter("divisi_worker_attempts", "Attempts by outcome.", ["outcome"], registry=self.registry)
        self.child_starts = Counter(
            "divisi_worker_child_starts", "Starts of the engine's process.", registry=self.registry
        )
        self.attempt_seconds = Histogram(
            "divisi_worker_attempt_seconds",
            "Duration of attempts that succeeded.",
            buckets=(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
            registry=self.registry,
        )
        self.real_time_factor = Histogram(
            "divisi_worker_real_time_factor",
            "Seconds of work a second of audio.",
            buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self.registry,
        )


@dataclass
class WorkerHealth:
    """The state of one worker, written by its loop and read by the server's thread.

    Args:
        heartbeat_file: touched at each pulse, for probes that look at a file's age.
        engine: name, device and versions once the engine is warm; None before, and while a child starts again.
        problem: why the worker is not ready.
    """

    heartbeat_file: Path | None = None
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    engine: dict[str, Any] | None = None
    is_redis_away: bool = True
    is_draining: bool = False
    problem: str | None = "starting"
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
        return self.is_alive and self.engine is not None and not self.is_redis_away and not self.is_draining

    def report(self) -> dict[str, Any]:
        """What /readyz answers."""
        return {
            "ready": self.is_ready,
            "engine": self.engine,
            "redis": "away" if self.is_redis_away else "ok",
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
