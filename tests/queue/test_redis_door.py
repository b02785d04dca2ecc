from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from tests.conftest import free_port, running_redis

from divisi.contract.errors import UnavailableError
from divisi.contract.job import Job, new_job_id
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import Figures
from divisi.queue.worker_side import WorkerSide
from divisi.standalone import redis_executable

pytestmark = pytest.mark.anyio

MakeJob = Callable[..., Job]


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "redis.sock"


@pytest.fixture
def start_redis(socket_path: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        # Written before it is answered, as deployments have it: by default a busy disk may lose the last two seconds.
        options = ["--port", "0", "--unixsocket", str(socket_path), "--dir", str(tmp_path)]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        server = subprocess.Popen([redis_executable(), *options], stdout=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stdout is not None
        assert any("ready to accept connections" in line.lower() for line in server.stdout)
        return server

    yield start
    for server in started:
        server.kill()
        server.communicate()


async def test_a_redis_that_is_away_is_unavailable_and_says_so_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("redis.asyncio.retry.sleep", note)
    queue = JobQueue(RedisDoor(f"redis://127.0.0.1:{free_port()}/0"))
    for call in (
        queue.door.connect(),
        queue.get(new_job_id()),
        WorkerSide(queue.door).claim("worker"),
        Figures(queue.door).depth(),
        queue.list(),
    ):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.code == "redis-unavailable"
    assert 0 < sum(pauses) < 2
    await queue.door.close()


async def test_the_queue_goes_on_by_itself_after_redis_was_killed_and_came_back(
    start_redis: Callable[[], subprocess.Popen[str]], socket_path: Path, make_job: MakeJob
) -> None:
    server = start_redis()
    async with RedisDoor(f"unix://{socket_path}") as door:
        queue = JobQueue(door)
        before, after = make_job(), make_job()
        await queue.submit(before)
        server.kill()
        server.wait()
        with pytest.raises(UnavailableError):
            await queue.submit(after)
        start_redis()
        await queue.submit(after)  # no new connection asked for, scripts unknown to the new server
        claims = [await WorkerSide(queue.door).claim("a"), await WorkerSide(queue.door).claim("b")]
        assert [claim.job_id for claim in claims if claim] == [before.job_id, after.job_id]


async def test_consumer_groups_that_redis_forgot_are_made_again(
    redis_url: str, raw: redis.Redis, make_job: MakeJob
) -> None:
    async with RedisDoor(redis_url) as door:
        queue = JobQueue(door)
        raw.flushall()
        assert await WorkerSide(queue.door).reclaim() == (0, 0)
        raw.flushall()
        await queue.submit(make_job())
        assert await WorkerSide(queue.door).claim("worker") is not None


async def test_a_cancellation_that_redis_py_swallows_still_ends_the_caller(redis_url: str) -> None:
    queue = JobQueue(RedisDoor(redis_url))
    began = asyncio.Event()

    async def swallow_a_cancellation() -> str:  # as asyncio.wait_for does on Python 3.11
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "PONG"

    caller = asyncio.create_task(queue.door.ask(swallow_a_cancellation()))
    await began.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await queue.door.close()


async def test_a_redis_that_refuses_writes_is_unavailable(redis_url: str, raw: redis.Redis, make_job: MakeJob) -> None:
    async with RedisDoor(redis_url) as door:
        queue = JobQueue(door)
        raw.config_set("maxmemory", 1)
        try:
            with pytest.raises(UnavailableError):
                await queue.submit(make_job())
        finally:
            raw.config_set("maxmemory", 0)


async def test_whether_redis_takes_writes_is_found_out_without_one(redis_url: str, raw: redis.Redis) -> None:
    async with RedisDoor(redis_url) as door:
        queue = JobQueue(door)
        keys = sorted(raw.keys())
        await queue.door.require_writes()
        assert sorted(raw.keys()) == keys
        raw.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(UnavailableError, match="replica"):
                await queue.door.require_writes()
        finally:
            raw.replicaof("NO", "ONE")
        await queue.door.require_writes()


async def test_after_a_fail_over_the_new_primary_is_found_behind_the_same_name(
    make_job: MakeJob, tmp_path: Path
) -> None:
    old, new = free_port(), free_port()
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    primary = old

    async def lead_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What a name does: whoever connects now is led to the primary of now, and stays there."""
        there, back = await asyncio.open_connection("127.0.0.1", primary)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    with running_redis(old, tmp_path / "old"), running_redis(new, tmp_path / "new"):
        name = await asyncio.start_server(lead_on, "127.0.0.1", 0)
        port = name.sockets[0].getsockname()[1]
        async with RedisDoor(f"redis://127.0.0.1:{port}/0") as door:
            queue = JobQueue(door)
            await queue.submit(make_job())
            with redis.Redis(port=old) as demoted:
                demoted.replicaof("127.0.0.1", new)
            primary = new
            with pytest.raises(UnavailableError, match="replica"):
                await queue.submit(make_job())
            await queue.submit(make_job())
        name.close()
