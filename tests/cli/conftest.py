"""The commands as a person runs them: a process with settings in its environment, an exit code, what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from divisi.jobs.door import QueueOptions
from divisi.jobs.queue import JobQueue

Divisi = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def divisi(tmp_path: Path, redis_url: str) -> Divisi:
    """Runs a command of `divisi` over the test's Redis and a store in tmp_path; settings by keyword."""

    def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        plain = {"redis_url": redis_url, "store_url": f"file://{tmp_path / 'store'}", "engine": "passthrough"}
        chosen = {f"DIVISI_{name.upper()}": str(value) for name, value in {**plain, **settings}.items()}
        return subprocess.run(
            [sys.executable, "-m", "divisi.cli", *arguments],
            env={**os.environ, **chosen, "COLUMNS": "220"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(redis_url, QueueOptions()) as connected:
        yield connected
