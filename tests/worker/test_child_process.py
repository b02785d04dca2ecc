from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from tests.patience import PATIENCE_SECONDS

from divisi.contract.job import Job, JobState
from divisi.settings import Settings, child_environment
from divisi.worker.attempt import ChildProcess, Done, Failed, Fault, Progress, Ready, Reply

pytestmark = pytest.mark.anyio

Accept = Callable[..., Awaitable[Job]]
MakeSettings = Callable[..., Settings]
POISON_LEVEL = -0.75  # see tests/chaos/engines.py


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[ChildProcess]:
    child = await ChildProcess.start(settings)
    try:
        assert isinstance(await child.reply(), Ready)
        yield child
    finally:
        await child.kill()


async def answer_of(child: ChildProcess) -> Reply | None:
    """The first reply that is not progress."""
    while isinstance(reply := await child.reply(), Progress):
        pass
    return reply


def assign(child: ChildProcess, job: Job, tmp_path: Path) -> None:
    folder = tmp_path / f"attempt-{job.job_id}"
    folder.mkdir()
    child.assign(job.model_copy(update={"attempt": 1, "state": JobState.RUNNING}), folder)


async def test_a_child_stays_warm_and_takes_one_job_after_another(
    settings: Settings, accept: Accept, tmp_path: Path
) -> None:
    async with started(settings) as child:
        for _ in range(3):
            job = await accept()
            assign(child, job, tmp_path)
            done = await answer_of(child)
            assert isinstance(done, Done)
            assert job.job_id in done.manifest.stems[0].key
        assert child.is_alive


async def test_failures_say_whose_fault_they_are_and_leave_the_child_well(
    settings: Settings, accept: Accept, tmp_path: Path
) -> None:
    async with started(settings) as child:
        answers = {}
        for what, job in {
            "damaged": await accept(content=b"no audio"),
            "unknown model": await accept(model_id="third"),
            "bug": await accept(fit={"spots": "none"}),
        }.items():
            assign(child, job, tmp_path)
            answers[what] = await answer_of(child)
        faults = {what: answer.fault for what, answer in answers.items() if isinstance(answer, Failed)}
        assert faults == {"damaged": Fault.INPUT, "unknown model": Fault.MODEL, "bug": Fault.UNEXPECTED}
        assign(child, await accept(), tmp_path)
        assert isinstance(await answer_of(child), Done)


async def test_a_store_that_is_away_is_nobodys_fault(
    make_settings: MakeSettings, accept: Accept, tmp_path: Path
) -> None:
    away = make_settings(
        store_url="s3://bucket", s3_endpoint="http://127.0.0.1:9", s3_access_key_id="a", s3_secret_access_key="b"
    )
    async with started(away) as child:
        assign(child, await accept(), tmp_path)
        answer = await answer_of(child)
        assert isinstance(answer, Failed)
        assert answer.fault is Fault.UNAVAILABLE


async def test_an_engine_that_does_not_open_is_told_instead_of_ready(make_settings: MakeSettings) -> None:
    child = await ChildProcess.start(make_settings(device="cuda"))
    answer = await child.reply()
    assert isinstance(answer, Failed)
    assert answer.fault is Fault.MODEL
    assert "cuda" in answer.problem.message
    assert await child.reply() is None
    await child.kill()


async def test_a_crash_ends_the_replies_and_has_a_cause(
    make_settings: MakeSettings, accept: Accept, tmp_path: Path
) -> None:
    async with started(make_settings(engine="engines:PoisonableEngine")) as child:
        assign(child, await accept(level=POISON_LEVEL), tmp_path)
        assert await answer_of(child) is None
        assert await child.kill() == "SIGSEGV"
        assert not child.is_alive


async def test_a_busy_child_is_killed_with_all_that_it_started(
    make_settings: MakeSettings, accept: Accept, tmp_path: Path
) -> None:
    async with started(make_settings(engine="engines:EndlessEngine")) as child:
        assign(child, await accept(), tmp_path)
        assert isinstance(await child.reply(), Progress)
        await asyncio.wait_for(child.kill(), PATIENCE_SECONDS)
        assert not psutil.pid_exists(child.pid)
        assert await child.reply() is None or isinstance(await answer_of(child), type(None))
        await child.kill()


@pytest.mark.parametrize("engine", ["engines:EndlessEngine", "engines:DeafEngine"])
async def test_a_child_dies_with_a_supervisor_that_is_killed(
    make_settings: MakeSettings, accept: Accept, tmp_path: Path, engine: str
) -> None:
    """Also while native code holds the interpreter, so that no Python of the child can notice."""
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from divisi.settings import load_settings; from divisi.worker.attempt import ChildProcess\n"
        "from divisi.contract.job import Job\n"
        "async def main():\n"
        "    child = await ChildProcess.start(load_settings())\n"
        "    await child.reply()\n"
        "    child.assign(Job.from_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "    await child.reply()\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    job = await accept()
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, job.to_json(), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(make_settings(engine=engine)),
    )
    assert supervisor.stdout is not None
    assert supervisor.stderr is not None
    child = psutil.Process(int(await supervisor.stdout.readline()))
    if engine == "engines:DeafEngine":
        await asyncio.wait_for(supervisor.stderr.readuntil(b"deaf\n"), PATIENCE_SECONDS)
    os.kill(supervisor.pid, signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, [child], PATIENCE_SECONDS)
    assert alive == []
