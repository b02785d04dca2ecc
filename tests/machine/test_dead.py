from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from divisi.contract.job import Job, JobState, Problem, new_job_id
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import Figures
from divisi.queue.worker_side import WorkerSide

if TYPE_CHECKING:
    from tests.machine.conftest import Divisi

pytestmark = pytest.mark.anyio


async def bury(queue: JobQueue, code: str = "worker-crashed", is_dead_letter: bool = True) -> str:
    worker_side = WorkerSide(queue.door)
    job = Job(
        job_id=new_job_id(),
        model_id="satb-small",
        model_version="1.0.0",
        stem_format="flac",
        submitted_at=time.time(),
        file_name="Ave [verum].wav",
    )
    await queue.submit(job)
    claim = await worker_side.claim("worker")
    assert claim is not None
    await worker_side.fail(
        claim, Problem(code, "It died [/bold].", {"cause": "SIGSEGV"}), is_dead_letter=is_dead_letter
    )
    return job.job_id


async def test_dead_letters_are_listed_shown_and_queued_again(divisi: Divisi, queue: JobQueue) -> None:
    job_id = await bury(queue)
    listed = await asyncio.to_thread(divisi, "dead", "list")
    assert listed.returncode == 0, listed.stderr
    assert job_id in listed.stdout
    assert "It died [/bold]." in listed.stdout
    shown = await asyncio.to_thread(divisi, "dead", "show", job_id)
    for part in ("Ave [verum].wav", "worker-crashed", "SIGSEGV", "running", f"divisi dead retry {job_id}"):
        assert part in shown.stdout
    again = await asyncio.to_thread(divisi, "dead", "retry", job_id)
    assert (again.returncode, again.stdout.strip()) == (0, f"{job_id} is queued again")
    assert (await queue.get(job_id)).state is JobState.QUEUED
    assert await queue.dead_letters() == ()


async def test_all_dead_letters_are_queued_again_at_once(divisi: Divisi, queue: JobQueue) -> None:
    job_ids = {await bury(queue) for _ in range(3)}
    again = await asyncio.to_thread(divisi, "dead", "retry", "--all")
    assert {line.split()[0] for line in again.stdout.splitlines()} == job_ids
    assert await Figures(queue.door).dead_count() == 0


@pytest.mark.parametrize("arguments", [("retry",), ("retry", "--all", "01m82509an0z2za7kt3a89vjd6")])
async def test_it_must_be_said_which_ones(divisi: Divisi, arguments: tuple[str, ...]) -> None:
    refused = await asyncio.to_thread(divisi, "dead", *arguments)
    assert refused.returncode == 2
    assert "name the jobs" in refused.stderr


@pytest.mark.parametrize("command", ["show", "retry"])
async def test_what_is_no_dead_letter_is_refused(divisi: Divisi, queue: JobQueue, command: str) -> None:
    failed = await bury(queue, "not-audio", is_dead_letter=False)
    refused = await asyncio.to_thread(divisi, "dead", command, failed)
    assert refused.returncode in (1, 2)
    assert "no dead letter" in refused.stderr
    unknown = await asyncio.to_thread(divisi, "dead", command, new_job_id())
    assert unknown.returncode == 2
    assert "There is no job" in unknown.stderr
