"""Servers that tests of several rooms lean on: a real Redis and an S3-speaking server, both on loopback, free ports."""

from __future__ import annotations

import functools
import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import hypothesis
import pytest
import redis
from hypothesis import HealthCheck
from tests.patience import PATIENCE_SECONDS

from divisi.models.bundle import ModelBundle
from divisi.queue.job_queue import JobQueue
from divisi.standalone import redis_executable

if TYPE_CHECKING:
    from tests.models.running_torch_serve import RunningTorchServe


# No example has a deadline: a busy machine is not what is tested. Fixtures of a function serve all of its examples.
hypothesis.settings.register_profile(
    "divisi", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis.settings.load_profile("divisi")
# What httpx uses where no time is given: five seconds, which a server on a busy machine may need for an answer.
for _wait in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _wait, PATIENCE_SECONDS)
# Each client of httpx reads all certificates anew, which takes longer than most of what is asked of a test's server.
httpx.create_ssl_context = httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests (`pytest.mark.anyio`) run on asyncio."""
    return "asyncio"


REDIS_STOP_SECONDS = 5.0
# Below those that the kernel gives to outgoing connections: what is free now is not taken by a client a moment later.
SERVER_PORTS = range(20_000, 32_000)
StartRedis = Callable[[int], "subprocess.Popen[str]"]


def free_port() -> int:
    """A port of the loopback interface that is free now, and chosen by chance: nobody else is given it meanwhile."""
    while True:
        port = random.SystemRandom().choice(SERVER_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def running_redis(port: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A Redis without persistence, ready to answer."""
    command = [redis_executable(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir"]
    with subprocess.Popen([*command, str(folder)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("Ready to accept connections" in line for line in server.stdout), "Redis did not start"
        yield server
        server.terminate()
        try:
            server.communicate(timeout=REDIS_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # While Redis writes its first append-only file, which a test may have asked for, it does not stop.
            server.kill()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis of our own; its state is shared, see `redis_url`."""
    port = free_port()
    with running_redis(port, tmp_path_factory.mktemp("redis")):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts a Redis on a port, for tests that kill and restart theirs; what still runs is stopped at the end."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(running_redis(port, tmp_path))


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def seem_long_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[JobQueue], None]:
    """Has a queue believe that its Redis came up a year ago: until a lease after that nothing is reclaimed."""

    def believe(queue: JobQueue) -> None:
        info = queue.door.redis.info

        async def long_up(section: str) -> dict:
            return {**await info(section), "uptime_in_seconds": 365 * 24 * 3600}

        monkeypatch.setattr(queue.door.redis, "info", long_up)

    return believe


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3-speaking server with a bucket `recordings`; any key and secret will do."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="recordings")
    yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A published bundle of some thousand weights, untrained."""
    from tests.models.tiny_bundle import tiny_draft, tiny_network

    from divisi_workshop.export.export import export_bundle

    return export_bundle(tiny_network(), tiny_draft(), tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_roster_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """The same with a roster as second input."""
    from tests.models.tiny_bundle import tiny_draft, tiny_roster_network

    from divisi_workshop.export.export import export_bundle

    draft = tiny_draft(id="tiny-roster", takes_roster=True)
    return export_bundle(tiny_roster_network(), draft, tmp_path_factory.mktemp("tiny-roster"))


@pytest.fixture(scope="session")
def torch_serve(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: ModelBundle, tiny_roster_bundle: ModelBundle
) -> Iterator[RunningTorchServe]:
    """A real TorchServe that serves the two bundles above."""
    from tests.models.running_torch_serve import running_torch_serve

    ports = [free_port() for _ in range(5)]
    with running_torch_serve(tmp_path_factory.mktemp("ts"), [tiny_bundle, tiny_roster_bundle], ports) as server:
        yield server


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run counts as one that failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
