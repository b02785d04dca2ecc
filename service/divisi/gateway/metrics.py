"""Prometheus metrics of one gateway: its own requests as they happen, the queue's state at each scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
# An upload of an hour of audio over a slow line takes minutes.
SECONDS_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)


class Metrics:
    """The registry of one app; several apps in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "divisi_gateway_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["method", "route", "status"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._uploads = Counter(
            "divisi_gateway_upload_bytes", "Bytes of audio received in uploads.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "divisi_queue_depth", "Jobs that are queued or running.", ["lane"], registry=self.registry
        )
        self.oldest_seconds = Gauge(
            "divisi_queue_oldest_seconds",
            "How long the oldest queued job has waited; 0 when none waits.",
            ["lane"],
            registry=self.registry,
        )
        self.queue_up = Gauge("divisi_queue_up", "1 when Redis answered this scrape.", registry=self.registry)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request under its route's template, never under its path."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def observe_upload(self, num_bytes: int) -> None:
        """Counts the bytes of one upload."""
        self._uploads.inc(num_bytes)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
