"""Prometheus metrics of one gateway: its own requests as they happen, and the whole queue at each scrape.

What the queue counts is counted in Redis, so every gateway tells the same: take the maximum over gateways, not the sum.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from divisi.jobs.figures import COUNTERS
from divisi.jobs.overview import Overview
from divisi.jobs.roll_call import WorkerState
from divisi.storage.store_errors import StoreErrors

METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
# An upload of an hour of audio over a slow line takes minutes.
SECONDS_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300)

# Names for what the queue counts.
COUNTER_NAMES = {
    "accepted": "divisi_jobs_accepted",
    "succeeded": "divisi_jobs_succeeded",
    "failed": "divisi_jobs_failed",
    "cancelled": "divisi_jobs_cancelled",
    "claims": "divisi_claims",
    "handed_back": "divisi_hand_backs",
    "lost_leases": "divisi_leases_lost",
    "reclaimed": "divisi_reclaims",
    "dead_letters": "divisi_jobs_dead_lettered",
    "retried": "divisi_dead_letters_retried",
    "stale_beats": "divisi_stale_beats",
    "stale_commits": "divisi_stale_commits",
}


class GatewayMetrics:
    """The registry of one app; several apps in one process do not share counts."""

    def __init__(self, store_failures: Counts[str] | None = None) -> None:
        """
        Args:
            store_failures: what the app's object store counts.
        """
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
        self._mixes = Counter(
            "divisi_gateway_mixes",
            "Practice mixes that were asked for first here, made or refused.",
            ["outcome"],
            registry=self.registry,
        )
        self._queue = _QueueMetrics()
        self.registry.register(self._queue)
        store_errors = StoreErrors()
        store_errors.watch(Counts() if store_failures is None else store_failures)
        self.registry.register(store_errors)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request under its route's template, never under its path."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def observe_upload(self, num_bytes: int) -> None:
        """Counts the bytes of one upload."""
        self._uploads.inc(num_bytes)

    def count_mix(self, outcome: Literal["made", "refused"]) -> None:
        """Counts one practice mix that was not there yet."""
        self._mixes.labels(outcome).inc()

    def render(self, overview: Overview | None) -> bytes:
        """All metrics in Prometheus' text format; without the queue's when Redis is away."""
        self._queue.overview = overview
        return generate_latest(self.registry)


class _QueueMetrics(Collector):
    """The queue as it stood when it was looked at for this scrape."""

    def __init__(self) -> None:
        self.overview: Overview | None = None

    def collect(self) -> Iterator[Metric]:
        overview = self.overview
        yield GaugeMetricFamily("divisi_queue_up", "1 when Redis answered this scrape.", value=overview is not None)
        if overview is None:
            return
        jobs = GaugeMetricFamily("divisi_queue_jobs", "Jobs that wait or run.", labels=["lane", "state"])
        length = GaugeMetricFamily(
            "divisi_queue_length",
            "Entries of the stream, waiting and running; autoscaling reads it.",
            labels=["lane"],
        )
        oldest = GaugeMetricFamily(
            "divisi_queue_oldest_seconds",
            "How long the oldest waiting job has waited; else 0.",
            labels=["lane"],
        )
        for lane, depth in overview.lanes.items():
            jobs.add_metric([lane.value, "waiting"], depth.waiting)
            jobs.add_metric([lane.value, "running"], depth.running)
            length.add_metric([lane.value], depth.length)
            oldest.add_metric([lane.value], depth.oldest_waiting_seconds)
        yield from (jobs, length, oldest)
        yield GaugeMetricFamily("divisi_dead_letters", "Dead letters that wait for an operator.", overview.dead_letters)
        workers = GaugeMetricFamily("divisi_workers", "Workers heard of within a minute, by state.", labels=["state"])
        for state in WorkerState:
            workers.add_metric([state.value], sum(worker.state is state for worker in overview.workers))
        yield workers
        for counter, name in COUNTER_NAMES.items():
            yield CounterMetricFamily(name, COUNTERS[counter], overview.counters.get(counter, 0))
