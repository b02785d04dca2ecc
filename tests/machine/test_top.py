from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from divisi.contract.job import Job, Problem, new_job_id
from divisi.contract.request import Lane
from divisi.machine.service import Snapshot, frame, look
from divisi.queue.job_queue import JobQueue
from divisi.queue.worker_side import RollCall, WorkerSide, WorkerState, WorkerStatus

if TYPE_CHECKING:
    from tests.machine.conftest import Divisi

pytestmark = pytest.mark.anyio


def make_job(**changes: object) -> Job:
    plain = {
        "job_id": new_job_id(),
        "model_id": "satb-small",
        "model_version": "1.0.0",
        "stem_format": "flac",
        "submitted_at": time.time(),
        "file_name": "Locus iste.wav",
        "audio": {"num_samples": 441_000, "sample_rate": 44_100},
    }
    return Job(**(plain | changes))  # type: ignore[arg-type]


def printed(snapshot: Snapshot, before: Snapshot | None = None) -> str:
    console = Console(width=220, force_terminal=False)
    with console.capture() as capture:
        console.print(frame(snapshot, before))
    return capture.get()


def line_with(text: str, part: str) -> str:
    (line,) = [line for line in text.splitlines() if part in line]
    return " ".join(re.sub(r"[│┃]", " ", line).split())


async def test_one_frame_shows_lanes_workers_and_jobs(divisi: Divisi, queue: JobQueue) -> None:
    roll_call = RollCall(queue.door)
    worker_side = WorkerSide(queue.door)
    running, waiting = make_job(), make_job(lane=Lane.BATCH, file_name="Os justi.wav")
    await queue.submit(running)
    await queue.submit(waiting)
    claim = await worker_side.claim("worker-1")
    assert claim is not None
    await worker_side.report(claim, 0.5, "separating")
    await roll_call.announce(
        WorkerStatus("worker-1", WorkerState.BUSY, time.time(), "onnx_runtime", "cpu", running.job_id, attempts=4)
    )
    await roll_call.announce(
        WorkerStatus("worker-2", WorkerState.STARTING, time.time(), problem="device cuda is missing")
    )
    shown = await asyncio.to_thread(divisi, "top", "--once")
    assert shown.returncode == 0, shown.stderr
    assert "accepted 2" in shown.stdout
    lanes, workers_and_jobs = re.split(r"(?=┃ worker)", shown.stdout)
    assert line_with(lanes, "batch").startswith("batch 1 0")
    busy = line_with(workers_and_jobs, "worker-1")
    assert busy.startswith(f"worker-1 busy onnx_runtime on cpu {running.job_id} separating")
    assert "device cuda is missing" in line_with(workers_and_jobs, "worker-2")
    assert f"{waiting.job_id} queued" in line_with(workers_and_jobs, "Os justi.wav")


async def test_a_worker_says_how_long_it_has_been_up(queue: JobQueue) -> None:
    started_at = time.time()
    await RollCall(queue.door).announce(WorkerStatus("worker-1", WorkerState.IDLE, started_at))
    later = replace(await look(queue.door), at=started_at + 95)
    assert "1 min 35 s" in line_with(printed(later), "worker-1")


async def test_an_empty_queue_says_what_is_missing(divisi: Divisi) -> None:
    shown = await asyncio.to_thread(divisi, "top", "--once")
    assert shown.returncode == 0
    assert "no worker reported" in shown.stdout
    assert "no jobs yet" in shown.stdout


async def test_without_redis_there_is_one_line_and_exit_code_1(divisi: Divisi) -> None:
    shown = await asyncio.to_thread(divisi, "top", "--once", redis_url="redis://127.0.0.1:9/0")
    assert shown.returncode == 1
    assert shown.stderr.startswith("error: Redis does not answer")
    assert "Traceback" not in shown.stderr


async def test_failures_and_their_codes_stand_out(queue: JobQueue) -> None:
    worker_side = WorkerSide(queue.door)
    await queue.submit(make_job())
    claim = await worker_side.claim("worker-1")
    assert claim is not None
    await worker_side.fail(claim, Problem("damaged-bundle", "The model is damaged."), is_dead_letter=True)
    text = printed(await look(queue.door))
    assert "dead letters 1" in text
    assert "damaged-bundle" in text


async def test_two_frames_tell_how_fast_jobs_are_done(queue: JobQueue) -> None:
    await queue.submit(make_job())
    first = await look(queue.door)
    now = await look(queue.door)
    later = Snapshot(first.at + 30, now.overview, now.recent, now.held)
    assert "0.0 jobs a minute" in printed(later, first)


async def test_a_worker_whose_job_was_erased_is_shown_all_the_same(queue: JobQueue) -> None:
    await RollCall(queue.door).announce(WorkerStatus("worker-1", WorkerState.BUSY, time.time(), job_id=new_job_id()))
    assert "worker-1" in printed(await look(queue.door))
