"""A queue on an empty Redis, and what tests of the queue do to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis

from divisi.contract.job import Job, new_job_id
from divisi.contract.manifest import Manifest, ManifestStem
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.queue.worker_side import Claim

# Longer than a machine that is busy with other things can keep a test from its next step.
LEASE_SECONDS = 300.0


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """Redis itself."""
    with redis.Redis.from_url(redis_url, decode_responses=True, protocol=2) as client:
        yield client


@pytest.fixture
async def queue(redis_url: str, seem_long_up: Callable[[JobQueue], None]) -> AsyncIterator[JobQueue]:
    """A connected queue."""
    async with RedisDoor(redis_url, QueueOptions(lease_seconds=LEASE_SECONDS, max_queued_jobs=50)) as door:
        connected = JobQueue(door)
        seem_long_up(connected)
        yield connected


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Makes jobs that differ from a plain one by what is given."""

    def make(**changes: Any) -> Job:
        plain = {
            "job_id": new_job_id(),
            "model_id": "satb-small",
            "model_version": "1.0.0",
            "stem_format": "flac",
            "submitted_at": time.time(),
            "file_name": "Ave verum.wav",
            "audio": {
                "container": "wav",
                "sample_rate": 48000,
                "num_channels": 2,
                "num_samples": 480000,
                "exact": True,
            },
        }
        return Job(**(plain | changes))

    return make


@pytest.fixture
def manifest_of() -> Callable[[Claim], Manifest]:
    """The manifest that an attempt would commit."""

    def make(claim: Claim) -> Manifest:
        key = f"jobs/{claim.job_id}/attempts/{claim.attempt}/soprano.flac"
        stem = ManifestStem("soprano", "soprano.flac", key, 1000, "ab" * 32, "audio/flac")
        return Manifest(
            attempt=claim.attempt,
            model_id=claim.job.model_id,
            model_version=claim.job.model_version,
            stems=(stem,),
            audio=claim.job.audio,
            conservation_dbfs=-120.0,
            real_time_factor=0.1,
            wall_seconds=1.0,
            engine={"name": "passthrough"},
        )

    return make


@pytest.fixture
def let_lease_run_out(raw: redis.Redis) -> Callable[[JobQueue, Claim], None]:
    """Makes Redis believe that the worker has been silent for two leases."""

    def age(queue: JobQueue, claim: Claim) -> None:
        stream = queue.door.stream(Lane(claim.job.lane))
        entry = raw.hget(queue.door.key("job", claim.job_id), "entry")
        idle_ms = int(2 * LEASE_SECONDS * 1000)
        raw.xclaim(stream, "workers", claim.consumer, 0, [entry], idle=idle_ms, justid=True)

    return age
