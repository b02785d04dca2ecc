"""Figures of one worker for Prometheus: its attempts, the stages of its jobs, its engine, whether it is ready.

What all workers did together is counted in Redis and shown by the gateway (`gateway/open_routes.py`).
"""

from __future__ import annotations

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from divisi.storage.store_health import StoreErrors
from divisi.worker.messages import WorkFigures

# From a short song on a GPU to an hour's concert on one slow core.
JOB_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600)
FACTOR_BUCKETS = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


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
