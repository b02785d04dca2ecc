"""Short versions of the chaos scripts; `make chaos` runs them at full length, and judges how long things take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.patience import PATIENCE_SECONDS

FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    "command",
    [
        "kill_workers.py --kills 3 --jobs 8",
        "freeze_workers.py --freezes 2 --whole-trees 1 --busy",
        "restart_redis.py --restarts 2 --busy",
        "broken_store.py --jobs 6 --stall-seconds 1 --workers 1",
    ],
    ids=lambda command: command.split(".")[0],
)
def test_every_bar_of_the_script_is_met(command: str) -> None:
    script, *options = command.split()
    run = subprocess.run(
        [sys.executable, FOLDER / script, *options],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
