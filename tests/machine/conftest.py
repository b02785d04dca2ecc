"""The commands as a person runs them, with settings in the environment, an exit code, and what they printed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from divisi.cli.app import app
from divisi.cli.terminal import console, errors
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.settings import load_settings


@dataclass(frozen=True)
class Ran:
    """One run of a command."""

    returncode: int
    stdout: str
    stderr: str


Divisi = Callable[..., Ran]


@pytest.fixture
def divisi(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Divisi:
    """Runs a command of `divisi` over the test's Redis and a store in tmp_path; settings by keyword.

    In this process: each interpreter of its own would take seconds. Not from within an event loop: commands bring their
    own.
    """
    for terminal in (console, errors):
        monkeypatch.setattr(terminal, "_width", 220)

    def run(*arguments: str, **settings: object) -> Ran:
        plain = {"redis_url": redis_url, "store_url": f"file://{tmp_path / 'store'}", "engine": "passthrough"}
        chosen = {f"DIVISI_{name.upper()}": str(value) for name, value in {**plain, **settings}.items()}
        load_settings.cache_clear()
        try:
            done = CliRunner().invoke(app, list(arguments), env=chosen)
        finally:
            load_settings.cache_clear()
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[JobQueue]:
    async with RedisDoor(redis_url, QueueOptions()) as door:
        connected = JobQueue(door)
        yield connected
