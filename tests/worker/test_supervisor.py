from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import redis
import redis.asyncio
from prometheus_client import generate_latest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.bootstrap import Scratch, open_store
from divisi.contract.job import Job, JobEvent, JobState, Problem
from divisi.contract.request import Lane
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import EventReader
from divisi.queue.worker_side import RollCall, WorkerSide
from divisi.settings import Settings, child_environment
from divisi.storage.names import attempt_prefix
from divisi.storage.object_store import ObjectStore
from divisi.worker import attempt
from divisi.worker.health import WorkerHealth
from divisi.worker.supervisor import Supervisor

pytestmark = pytest.mark.anyio

Accept = Callable[..., Awaitable[Job]]
MakeSettings = Callable[..., Settings]
POISON_LEVEL = -0.75  # see tests/chaos/engines.py


@asynccontextmanager
async def working(
    settings: Settings, queue: JobQueue, store: ObjectStore
) -> AsyncIterator[tuple[Supervisor, WorkerHealth]]:
    """A supervisor at work, stopped at the end."""
    health = WorkerHealth()
    assert settings.work_dir is not None
    with Scratch(settings.work_dir, "worker") as scratch:
        supervisor = Supervisor(settings, queue.door, store, health, scratch)
        run = asyncio.create_task(supervisor.run())
        try:
            yield supervisor, health
            if not health.is_draining:
                supervisor.stop()
            await asyncio.wait_for(run, PATIENCE_SECONDS)
        finally:
            run.cancel()
            await asyncio.wait([run])


async def heard(queue: JobQueue, job: Job, until: Callable[[JobEvent], bool]) -> JobEvent:
    """The first event that fits."""

    async def listen() -> JobEvent:
        async for event in EventReader(queue.door).events(job.job_id):
            if event is not None and until(event):
                return event
        raise AssertionError("the job ended before")

    return await asyncio.wait_for(listen(), PATIENCE_SECONDS)


async def ended(queue: JobQueue, job: Job) -> Job:
    await heard(queue, job, lambda event: event.is_last)
    return await queue.get(job.job_id)


def engine_processes() -> list[psutil.Process]:
    """The children of workers in this process, but for those that are ending."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "divisi.worker.child" in child.cmdline():
                found.append(child)
    return found


def is_separating(event: JobEvent) -> bool:
    return event.stage == "separating"


def figures(text: str) -> dict[str, float]:
    """Samples of Prometheus' text format by name and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def swept(store: ObjectStore, job: Job, attempt: int = 1) -> None:
    """Returns when nothing of the attempt is left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await store.list(attempt_prefix(job.job_id, attempt)):
        assert time.monotonic() < deadline, "the attempt was not swept"
        await asyncio.sleep(0.01)


async def test_jobs_are_done_one_after_another_and_leave_no_temporary_files(
    settings: Settings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    jobs = [await accept() for _ in range(3)]
    async with working(settings, queue, store) as (_, health):
        for job in jobs:
            done = await ended(queue, job)
            assert done.state is JobState.SUCCEEDED
            assert done.manifest is not None
            for stem in done.manifest.stems:
                assert (await store.head(stem.key)).size == stem.bytes
        assert health.is_ready
    assert health.metrics.child_starts._value.get() == 1  # warm between jobs
    assert settings.work_dir is not None
    assert list(settings.work_dir.iterdir()) == []


async def test_bad_input_fails_at_once_and_is_not_tried_again(
    settings: Settings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    job = await accept(content=b"this is no audio")
    async with working(settings, queue, store):
        failed = await ended(queue, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 1)
    assert failed.problem is not None
    assert failed.problem.code == "not-audio"
    assert await queue.dead_letters() == ()


async def test_a_model_at_fault_fails_at_once_and_is_a_dead_letter(
    settings: Settings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    job = await accept(model_id="third")
    async with working(settings, queue, store):
        failed = await ended(queue, job)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 1)
    assert [letter.job_id for letter in await queue.dead_letters()] == [job.job_id]


async def test_a_store_that_is_away_puts_the_job_off_without_counting_the_attempt(
    make_settings: MakeSettings, queue: JobQueue, accept: Accept
) -> None:
    keys = {"s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    settings = make_settings(store_url="s3://bucket", s3_endpoint="http://127.0.0.1:9", **keys)
    job = await accept()
    async with working(settings, queue, open_store(settings)) as (_, health):
        put_off = await heard(queue, job, lambda event: event.problem is not None)
        assert put_off.kind is JobState.QUEUED
        assert put_off.problem is not None
        assert put_off.problem.code == "store-unavailable"
    assert health.metrics.child_starts._value.get() == 1  # the engine is well and stays warm
    assert (await queue.get(job.job_id)).state is JobState.QUEUED


async def test_a_job_that_crashes_the_child_is_given_up_after_its_attempts_and_others_go_on(
    make_settings: MakeSettings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    poisoned, good = await accept(level=POISON_LEVEL), await accept()
    async with working(make_settings(engine="engines:PoisonableEngine"), queue, store):
        failed, done = await ended(queue, poisoned), await ended(queue, good)
    assert (failed.state, failed.attempt) == (JobState.FAILED, queue.door.options.max_attempts)
    assert failed.problem is not None
    assert (failed.problem.code, failed.problem.facts) == ("worker-crashed", {"cause": "SIGSEGV"})
    assert done.state is JobState.SUCCEEDED


async def test_a_cancelled_job_frees_its_worker_and_leaves_no_stems(
    make_settings: MakeSettings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    settings = make_settings(engine="engines:EndlessEngine")
    endless, silent = await accept(), await accept(level=0.0)
    async with working(settings, queue, store):
        await heard(queue, endless, is_separating)
        (child,) = engine_processes()
        await queue.cancel(endless.job_id)
        await asyncio.to_thread(psutil.wait_procs, [child], PATIENCE_SECONDS)
        assert not child.is_running()
        assert (await ended(queue, silent)).state is JobState.SUCCEEDED
        await swept(store, endless)
    assert (await queue.get(endless.job_id)).state is JobState.CANCELLED


def test_a_cancel_is_looked_for_at_least_once_a_second() -> None:
    assert attempt.TICK_SECONDS + attempt._LONGEST_BEAT_SECONDS < 2


async def test_an_attempt_that_takes_too_long_is_ended(
    make_settings: MakeSettings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    settings = make_settings(engine="engines:EndlessEngine", job_timeout_seconds=0.3)
    job = await accept()
    async with working(settings, queue, store):
        failed = await ended(queue, job)
    assert failed.attempt == queue.door.options.max_attempts
    assert failed.problem is not None
    assert (failed.problem.code, failed.problem.facts) == ("job-timeout", {"limit_seconds": 0.3})


async def test_a_stopped_worker_hands_its_job_back_at_once_and_the_attempt_does_not_count(
    make_settings: MakeSettings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    settings = make_settings(engine="engines:EndlessEngine", drain_seconds=0.0)
    job = await accept()
    for _ in range(queue.door.options.max_attempts + 1):
        async with working(settings, queue, store) as (supervisor, _):
            await heard(queue, job, lambda event: event.kind is JobState.RUNNING)
            while (await queue.get(job.job_id)).state is not JobState.RUNNING:
                await asyncio.sleep(0.01)
            supervisor.stop()
        waiting = await queue.get(job.job_id)
        assert waiting.state is JobState.QUEUED
        await swept(store, job, waiting.attempt)


async def test_a_stopped_worker_finishes_a_job_that_fits_into_the_time_to_drain(
    make_settings: MakeSettings,
    queue: JobQueue,
    store: ObjectStore,
    accept: Accept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WAIT_FOR", str(tmp_path / "stopped"))
    settings = make_settings(engine="engines:WaitingEngine", drain_seconds=PATIENCE_SECONDS)
    job, later = await accept(), await accept()
    async with working(settings, queue, store) as (supervisor, health):
        await heard(queue, job, is_separating)
        supervisor.stop()
        assert not health.is_ready
        (tmp_path / "stopped").touch()
    assert (await queue.get(job.job_id)).state is JobState.SUCCEEDED
    assert (await queue.get(later.job_id)).state is JobState.QUEUED


async def test_a_job_taken_from_a_silent_worker_is_finished_by_another(
    make_settings: MakeSettings,
    queue: JobQueue,
    store: ObjectStore,
    accept: Accept,
    seem_long_up: Callable[[JobQueue], None],
) -> None:
    job = await accept()
    claim = await WorkerSide(queue.door).claim("a worker that dies now")
    assert claim is not None
    seem_long_up(queue)
    # Leases are looked at ten times a second; the silent worker's is over, the other's lasts.
    idle_ms = int(2000 * queue.door.options.lease_seconds)
    with redis.Redis.from_url(make_settings().redis_url, decode_responses=True) as raw:
        entry = raw.hget(queue.door.key("job", job.job_id), "entry")
        raw.xclaim(queue.door.stream(Lane(job.lane)), "workers", claim.consumer, 0, [entry], idle=idle_ms, justid=True)
    async with working(make_settings(lease_seconds=1.0), queue, store):
        done = await ended(queue, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


async def test_what_losers_left_is_swept_by_the_winner(
    settings: Settings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    worker_side = WorkerSide(queue.door)
    job = await accept()
    claim = await worker_side.claim("crashed")
    assert claim is not None
    await store.put_bytes(f"{attempt_prefix(job.job_id, 1)}/soprano.wav", b"half a stem")
    await worker_side.give_up_attempt(claim, Problem("worker-crashed", "SIGKILL"))
    async with working(settings, queue, store):
        assert (await ended(queue, job)).attempt == 2
        await swept(store, job, attempt=1)


async def test_a_worker_whose_engine_does_not_open_claims_nothing_and_says_why(
    make_settings: MakeSettings, queue: JobQueue, store: ObjectStore, accept: Accept
) -> None:
    job = await accept()
    async with working(make_settings(device="cuda"), queue, store) as (_, health):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not health.problem or "cuda" not in health.problem:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert not health.is_ready
        assert (await queue.get(job.job_id)).state is JobState.QUEUED


# --- the worker as a process ---


@pytest.fixture
def worker_process(make_settings: MakeSettings, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    def start(before: str = "", **changes: object) -> subprocess.Popen[bytes]:
        settings = make_settings(**changes)
        # Taking the interpreter apart can abort: it must not be begun.
        program = (
            "import atexit, os; from divisi.settings import load_settings\n"
            "from divisi.telemetry import configure_logging\n"
            "from divisi.worker.supervisor import run_worker\n"
            "configure_logging('info', 'json', process='worker')\n"
            f"atexit.register(os.abort)\n{before}\n"
        )
        with (tmp_path / "worker.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", f"{program}run_worker(load_settings())"],
                env=child_environment(settings),
                stderr=log,
            )

    return start


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_worker_with_its_child_and_hands_the_job_back(
    worker_process: Callable[..., subprocess.Popen[bytes]], queue: JobQueue, accept: Accept, name: signal.Signals
) -> None:
    job = await accept()
    worker = worker_process(engine="engines:EndlessEngine", drain_seconds=0.0)
    await heard(queue, job, is_separating)
    children = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(name)
    assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0
    assert not [child for child in children if child.is_running()]
    assert (await queue.get(job.job_id)).state is JobState.QUEUED


async def test_a_worker_that_looks_for_its_redis_in_vain_stops_all_the_same(
    worker_process: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    never = (
        "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(3600)\n"
        "from divisi.queue import redis_door; redis_door._CONNECT_SECONDS = 0.1"
    )
    worker = worker_process(never, redis_url="redis://redis.away:6379/0")
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Timeout connecting" not in (tmp_path / "worker.log").read_text():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0
    finally:
        worker.kill()


async def test_a_worker_process_reports_its_state_to_probes(
    worker_process: Callable[..., subprocess.Popen[bytes]], queue: JobQueue, accept: Accept, tmp_path: Path
) -> None:
    port = free_port()
    worker = worker_process(worker_metrics_port=port, worker_heartbeat_file=tmp_path / "heartbeat")
    try:
        await ended(queue, await accept())
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (said := await RollCall(queue.door).workers()) or said[0].attempts == 0:
            assert time.monotonic() < deadline, "the worker did not report its attempt"
            await asyncio.sleep(0.05)
        assert [(one.state, one.engine, one.device) for one in said] == [("idle", "passthrough", "cpu")]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/livez")).status_code == 200
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["engine"]["device"]) == (200, "cpu")
            found = figures((await client.get("/metrics")).text)
            assert found["divisi_worker_ready"] == 1
            assert found['divisi_worker_attempts_total{outcome="succeeded"}'] == 1
            assert found['divisi_worker_claims_total{lane="interactive"}'] == 1
            for stage in ("download", "decode", "separate", "encode", "upload"):
                assert found[f'divisi_stage_seconds_sum{{stage="{stage}"}}'] > 0
            for name in ("divisi_worker_attempt", "divisi_job", "divisi_job_wait"):
                assert found[next(key for key in found if key.startswith(f"{name}_seconds_count"))] == 1
            assert found["divisi_real_time_factor_ratio_count"] == 1
            assert found["divisi_engine_batch_segments_sum"] == found["divisi_engine_batch_segments_count"] >= 2
            assert found['divisi_store_errors_total{operation="put"}'] == 0
        assert time.time() - (tmp_path / "heartbeat").stat().st_mtime < PATIENCE_SECONDS
    finally:
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 0


async def test_a_worker_that_stopped_is_no_longer_listed(
    settings: Settings, queue: JobQueue, store: ObjectStore
) -> None:
    roll_call = RollCall(queue.door)
    async with working(settings, queue, store):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await roll_call.workers():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    assert await roll_call.workers() == ()


async def test_a_store_that_was_away_is_counted_with_what_was_asked_of_it(
    make_settings: MakeSettings, queue: JobQueue, accept: Accept
) -> None:
    keys = {"s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    settings = make_settings(store_url="s3://bucket", s3_endpoint="http://127.0.0.1:9", **keys)
    job = await accept()
    async with working(settings, queue, open_store(settings)) as (_, health):
        await heard(queue, job, lambda event: event.problem is not None)
    found = figures(generate_latest(health.metrics.registry).decode())
    assert found['divisi_store_errors_total{operation="get"}'] == 1  # by the engine's process
    assert found['divisi_store_errors_total{operation="list"}'] == 1  # by the sweep after it


async def test_a_second_signal_ends_the_worker_at_once(
    worker_process: Callable[..., subprocess.Popen[bytes]], queue: JobQueue, accept: Accept, tmp_path: Path
) -> None:
    job = await accept()
    worker = worker_process(engine="engines:EndlessEngine", drain_seconds=2 * PATIENCE_SECONDS)
    await heard(queue, job, is_separating)
    children = psutil.Process(worker.pid).children(recursive=True)
    worker.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "worker draining" not in (tmp_path / "worker.log").read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, PATIENCE_SECONDS) == 1
    await asyncio.to_thread(psutil.wait_procs, children, PATIENCE_SECONDS)
    assert not [child for child in children if child.is_running()]


async def test_a_worker_that_starts_before_redis_waits_for_it_and_stays_alive(
    make_settings: MakeSettings, store: ObjectStore
) -> None:
    settings = make_settings(redis_url="redis://127.0.0.1:9/0")
    queue = JobQueue(RedisDoor(settings.redis_url))
    async with working(settings, queue, store) as (_, health):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not health.problem or "Redis" not in health.problem:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert health.is_alive
        assert not health.is_ready
    await queue.door.close()


async def test_a_worker_is_not_ready_while_redis_is_full(
    settings: Settings, queue: JobQueue, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("divisi.worker.supervisor._ANNOUNCE_SECONDS", 0.05)

    async def until(is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async with working(settings, queue, store) as (_, health), redis.asyncio.Redis.from_url(settings.redis_url) as raw:
        await until(lambda: health.is_ready)
        await raw.config_set("maxmemory", 1)
        try:
            await until(lambda: health.report()["redis"] == "refuses writes")
            assert "maxmemory" in health.report()["problem"]
        finally:
            await raw.config_set("maxmemory", 0)
        await until(lambda: health.is_ready)
