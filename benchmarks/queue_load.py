"""Ten thousand queued jobs: how long each call of the queue takes then, and what a job costs in Redis's memory.

    python benchmarks/queue_load.py [--jobs 10000] [--fsync always]

Runs a Redis of its own with its append-only file on, on this machine's disk. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

import redis
from rich.console import Console
from rich.table import Table

from divisi.contract.job import Job, new_job_id
from divisi.contract.manifest import Manifest, ManifestStem
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.queue.watching import Figures
from divisi.queue.worker_side import Claim, WorkerSide
from divisi.standalone import redis_executable

SUBMIT_P99_MS = 50.0
CLAIM_P99_MS = 20.0
BYTES_A_JOB = 2048.0


@contextmanager
def running_redis(fsync: str) -> Iterator[str]:
    """URL of a Redis that writes every change to disk."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "save": "",
            "appendonly": "yes",
            "appendfsync": fsync,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        with subprocess.Popen([redis_executable(), *arguments], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert any("eady to accept connections" in line for line in server.stdout)
            try:
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                server.terminate()
                server.stdout.read()


def make_job(number: int) -> Job:
    """A job as the gateway makes them; every fifth has an Idempotency-Key, every fourth goes to the batch lane."""
    return Job(
        job_id=new_job_id(),
        model_id="satb-small",
        model_version="1.0.0",
        stem_format="flac",
        submitted_at=time.time(),
        lane=Lane.BATCH if number % 4 == 0 else Lane.INTERACTIVE,
        file_name=f"Bruckner - Locus iste, take {number}.wav",
        audio={
            "container": "wav",
            "codec": "pcm_16",
            "sample_rate": 44100,
            "num_channels": 2,
            "num_samples": 9_000_000,
            "exact": True,
        },
        idempotency_key=f"{random.randbytes(16).hex()}" if number % 5 == 0 else None,
        fingerprint=random.randbytes(32).hex() if number % 5 == 0 else None,
    )


def make_manifest(claim: Claim) -> Manifest:
    """A manifest of four stems and the residual."""
    stems = tuple(
        ManifestStem(
            name, f"{name}.flac", f"jobs/{claim.job_id}/attempts/1/{name}.flac", 9_999_999, "ab" * 32, "audio/flac"
        )
        for name in ("soprano", "alto", "tenor", "bass", "residual")
    )
    return Manifest(1, "satb-small", "1.0.0", stems, claim.job.audio, -120.0, 0.1, 20.0, {"name": "onnx_runtime"})


async def timed(call: Awaitable[object], durations_ms: list[float]) -> object:
    """Awaits a call and notes how long it took."""
    began = time.perf_counter()
    answer = await call
    durations_ms.append(1000 * (time.perf_counter() - began))
    return answer


async def measure(url: str, num_jobs: int) -> tuple[dict[str, list[float]], float, int]:
    """Durations in ms by call, bytes of memory a queued job, entries left in the streams at the end."""
    durations: dict[str, list[float]] = {name: [] for name in ("submit", "position", "claim", "beat", "commit")}
    raw = redis.Redis.from_url(url)
    async with RedisDoor(url, QueueOptions(max_queued_jobs=2 * num_jobs)) as door:
        queue, worker_side, figures = JobQueue(door), WorkerSide(door), Figures(door)
        await queue.submit(first := make_job(0))
        empty = raw.info("memory")["used_memory"]
        for number in range(num_jobs):
            await timed(queue.submit(make_job(number)), durations["submit"])
        bytes_a_job = (raw.info("memory")["used_memory"] - empty) / num_jobs
        page = await queue.list(limit=200)
        for job in page.jobs:
            await timed(figures.position(job.job_id), durations["position"])
        # Eight workers in turn, until nothing is left.
        for number in range(num_jobs + 1):
            claim = await timed(worker_side.claim(f"worker-{number % 8}"), durations["claim"])
            assert isinstance(claim, Claim)
            if number % 100 == 0:
                await timed(worker_side.beat(claim), durations["beat"])
            await timed(worker_side.commit(claim, make_manifest(claim)), durations["commit"])
        assert (await queue.get(first.job_id)).manifest
        left = sum(lane.length for lane in (await figures.depth()).values())
    raw.close()
    return durations, bytes_a_job, left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--fsync", choices=["always", "everysec"], default="always")
    options = parser.parse_args()
    with running_redis(options.fsync) as url:
        durations, bytes_a_job, left = asyncio.run(measure(url, options.jobs))
    p99 = {name: statistics.quantiles(values, n=100)[98] for name, values in durations.items()}
    table = Table(title=f"{options.jobs} queued jobs, appendfsync {options.fsync}")
    for heading in ("call", "median ms", "p99 ms", "worst ms", "bar"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    bars = {"submit": SUBMIT_P99_MS, "claim": CLAIM_P99_MS}
    for name, values in durations.items():
        bar = f"{bars[name]:g}" if name in bars else ""
        table.add_row(name, f"{statistics.median(values):.2f}", f"{p99[name]:.2f}", f"{max(values):.2f}", bar)
    table.add_row("bytes a queued job", f"{bytes_a_job:.0f}", "", "", f"{BYTES_A_JOB:g}")
    table.add_row("entries left in the streams", str(left), "", "", "0")
    Console().print(table)
    met = all(p99[name] <= bar for name, bar in bars.items()) and bytes_a_job <= BYTES_A_JOB and left == 0
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
