"""Cancels jobs that wait and jobs that run, through the API: how soon it is done, and what is left.

    python tests/chaos/cancel_jobs.py [--queued 50] [--running 20] [--workers 1]

The engine holds a quarter of a gigabyte, as a model on a GPU does. A running job's memory is free when the process that
held it is gone, or when that had just ended its work by itself. Cancels come at any moment of a job, while stems are
uploaded too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import time

import httpx
import psutil
from bars import Row, at_most, exactly, noted, report
from deployment import Deployment, deployment

from divisi.contract.job import Job, JobState
from divisi.queue.watching import Figures
from divisi.storage.names import attempt_prefix

QUEUED_SECONDS, FREED_SECONDS = 0.1, 2.0
AUDIO_SECONDS = 10.0  # 1 s of work
# The sweep comes right after the child's end.
SWEPT_SECONDS = 5.0


async def cancel_jobs(num_queued: int, num_running: int, num_workers: int) -> list[Row]:
    async with deployment("engines:HeavyEngine") as cruel:
        url = await cruel.start_gateway()
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            queued = [await _cancel_queued(cruel, http) for _ in range(num_queued)]
            bare = [await _ask_nothing(http) for _ in range(num_queued)]
            for _ in range(num_workers):
                cruel.start_worker()
            await cruel.wait_for_workers(num_workers)
            running = [await _cancel_running(cruel, http) for _ in range(num_running)]
            depth = await Figures(cruel.queue.door).depth()
    answered, freed, freed_bytes, left = zip(*running, strict=True)
    return [
        noted("queued jobs cancelled", num_queued),
        noted("from request to answer, median s", statistics.median(queued)),
        at_most("from request to answer, worst", max(queued), QUEUED_SECONDS),
        noted("a request that asks for nothing, on this machine now, median s", statistics.median(bare)),
        noted("running jobs cancelled", num_running),
        noted("from request to answer, median s", statistics.median(answered)),
        noted("from request to freed memory, median s", statistics.median(freed)),
        at_most("from request to freed memory, worst", max(freed), FREED_SECONDS),
        noted("memory freed each time, MiB", round(min(freed_bytes) / 1024**2)),
        exactly("stems left", sum(left), 0),
        exactly("entries left in the streams", sum(lane.length for lane in depth.values()), 0),
    ]


async def _cancel_queued(cruel: Deployment, http: httpx.AsyncClient) -> float:
    """Seconds until a job that waits is cancelled."""
    job_id = await cruel.accept(AUDIO_SECONDS)
    began = time.monotonic()
    answer = await http.post(f"/v1/jobs/{job_id}/cancel")
    seconds = time.monotonic() - began
    assert answer.json()["state"] == JobState.CANCELLED, answer.text
    return seconds


async def _ask_nothing(http: httpx.AsyncClient) -> float:
    """Seconds of a round trip that touches neither Redis nor the store: what the machine itself takes now."""
    began = time.monotonic()
    await http.get("/livez")
    return time.monotonic() - began


async def _cancel_running(cruel: Deployment, http: httpx.AsyncClient) -> tuple[float, float, int, int]:
    """Cancels a job at some moment of its run.

    Returns:
        Seconds until it was answered, seconds until the memory was free, bytes of it, stems left.
    """
    while True:
        cruel.accepted.clear()
        await cruel.accept(AUDIO_SECONDS)
        worker, job = await cruel.wait_for_busy_worker()
        await asyncio.sleep(random.uniform(0, 1.2))
        child = _engine_process(worker)
        if child is None:
            continue
        held = child.memory_info().rss
        began = time.monotonic()
        answer = await http.post(f"/v1/jobs/{job.job_id}/cancel")
        answered = time.monotonic() - began
        if answer.status_code == httpx.codes.CONFLICT:
            continue  # it had ended just before
        assert answer.json()["state"] == JobState.CANCELLED, answer.text
        while child.is_running() and not _attempt_ended(cruel, job):
            assert time.monotonic() - began < 10 * FREED_SECONDS, "the engine's process lives on"
            await asyncio.sleep(0.005)
        return answered, time.monotonic() - began, held, await _stems_left(cruel, job)


def _attempt_ended(cruel: Deployment, job: Job) -> bool:
    """Whether the worker is through with it: its engine's process is kept when it was just done with the job."""
    lines = (cruel.folder / "workers.log").read_text(errors="replace").splitlines()
    return any(job.job_id in line and '"attempt ended"' in line for line in lines)


def _engine_process(worker: subprocess.Popen[bytes]) -> psutil.Process | None:
    children = psutil.Process(worker.pid).children()
    return children[0] if children else None


async def _stems_left(cruel: Deployment, job: Job) -> int:
    deadline = time.monotonic() + SWEPT_SECONDS
    while left := len(await cruel.store.list(attempt_prefix(job.job_id, job.attempt))):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=50)
    parser.add_argument("--running", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    rows = asyncio.run(cancel_jobs(options.queued, options.running, options.workers))
    return report("cancelled jobs", rows)


if __name__ == "__main__":
    sys.exit(main())
