"""A batch of songs through the service with one worker and with two: how much faster two are.

    python benchmarks/throughput.py [--songs 20] [--seconds 60] [--rounds 1] [--model chorus]

A gateway takes all songs, then the workers start; the clock runs from the first claim to the end of the last job.
Redis, gateway and workers are processes of this machine, the store is a folder. Two cores should have nothing else to
do. Songs are the sample chorale, sung by synthetic voices, begun elsewhere and repeated. Exits with 1 when a bar is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import soundfile
from queue_load import running_redis
from rich.console import Console
from rich.table import Table

from divisi.bootstrap import open_door
from divisi.client import Client
from divisi.contract.job import Job, JobState
from divisi.machine.service import free_port
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import Figures
from divisi.sample import mixture_path
from divisi.settings import Settings, child_environment

SPEEDUP = 1.7
START_SECONDS = 300.0
POLL_SECONDS = 0.5


def write_songs(folder: Path, num_songs: int, seconds: float) -> list[Path]:
    """Stereo at 44.1 kHz, 16 bit; no two alike."""
    chorale, sample_rate = soundfile.read(mixture_path(), dtype="float32", always_2d=True)
    paths = []
    for number in range(num_songs):
        shifted = np.roll(chorale, number * len(chorale) // num_songs, axis=0)
        repeats = int(np.ceil(seconds * sample_rate / len(shifted)))
        paths.append(folder / f"song{number:02d}.wav")
        soundfile.write(paths[-1], np.tile(shifted, (repeats, 1))[: round(seconds * sample_rate)], sample_rate)
    return paths


@contextmanager
def running(process: str, settings: Settings) -> Iterator[None]:
    """A gateway or a worker of its own."""
    command = [sys.executable, "-m", "divisi.cli", process]
    with subprocess.Popen(command, env=child_environment(settings)) as running_process:
        try:
            yield
        finally:
            running_process.terminate()


def wait_for_gateway(url: str) -> None:
    """Returns when the gateway is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError("the gateway was not ready in time")


async def jobs_when_ended(settings: Settings, job_ids: list[str]) -> tuple[list[Job], int]:
    """The jobs, once all have ended, and the entries that are left in the streams."""
    async with open_door(settings) as door:
        queue = JobQueue(door)
        while True:
            jobs = [await queue.get(job_id) for job_id in job_ids]
            if all(job.state.is_ended for job in jobs):
                return jobs, sum(lane.length for lane in (await Figures(door).depth()).values())
            await asyncio.sleep(POLL_SECONDS)


def run_batch(songs: list[Path], num_workers: int, model: str, stem_format: str) -> tuple[float, int]:
    """Seconds from the first claim to the end of the last job, and the entries left in the streams."""
    with running_redis("everysec") as redis_url, tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            redis_url=redis_url,
            store_url=f"file://{folder}/store",
            work_dir=Path(folder) / "work",
            port=free_port(),
            log_level="warning",
        )
        url = f"http://127.0.0.1:{settings.port}"
        with running("gateway", settings), Client(url) as client:
            wait_for_gateway(url)
            job_ids = [client.submit(song, model=model, stem_format=stem_format)["id"] for song in songs]
        with ExitStack() as workers:
            for _ in range(num_workers):
                workers.enter_context(running("worker", settings))
            jobs, left = asyncio.run(jobs_when_ended(settings, job_ids))
    failed = [job.job_id for job in jobs if job.state is not JobState.SUCCEEDED]
    if failed:
        raise RuntimeError(f"{len(failed)} jobs did not succeed")
    return max(job.ended_at or 0 for job in jobs) - min(job.started_at or 0 for job in jobs), left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of one song")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of one and two workers in turn")
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--format", default="flac")
    options = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], 2: []}
    left = 0
    with tempfile.TemporaryDirectory() as folder:
        songs = write_songs(Path(folder), options.songs, options.seconds)
        for _ in range(options.rounds):
            for num_workers, figures in seconds.items():
                took, entries = run_batch(songs, num_workers, options.model, options.format)
                figures.append(took)
                left = max(left, entries)
    median = {num_workers: statistics.median(figures) for num_workers, figures in seconds.items()}
    speedup = median[1] / median[2]
    table = Table(title=f"{options.songs} songs of {options.seconds:g} s, {options.model}, {options.format}")
    for heading in ("workers", "batch s", "audio seconds a second", "bar"):
        table.add_column(heading, justify="right")
    for num_workers, took in median.items():
        table.add_row(str(num_workers), f"{took:.1f}", f"{options.songs * options.seconds / took:.1f}", "")
    table.add_row("2 against 1", f"{speedup:.2f} ×", "", f"≥ {SPEEDUP:g} ×")
    table.add_row("entries left", str(left), "", "0")
    Console().print(table)
    return 0 if speedup >= SPEEDUP and left == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
