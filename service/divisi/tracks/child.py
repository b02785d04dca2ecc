"""Learning tracks made in a child process: stems are decoded and encoded there, and it can be killed at any time.

Run as `python -m divisi.tracks.child`; takes a TrackOrder and a folder on standard input, answers with its progress.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from divisi.contract.errors import ModelError
from divisi.telemetry import get_logger
from divisi.tracks.making import TrackOrder, make_tracks

log = get_logger(__name__)

# Of a child that reports no progress: a hundredth of the work takes seconds, on a busy machine a minute.
_MOST_SILENT_SECONDS = 600.0
_ORDER: TypeAdapter[tuple[TrackOrder, Path]] = TypeAdapter(tuple[TrackOrder, Path])


async def make_in_child(order: TrackOrder, folder: Path, on_progress: Callable[[float], None]) -> None:
    """`make_tracks` in a child, which ends with the task that waits for it, or when it makes no progress.

    Raises:
        ModelError: `damaged-stem`, a stem cannot be read.
    """
    # None of our environment: no credentials lie in the memory of a process that decodes. One thread of linear algebra:
    # the sums are small, and threads that wait for each other take all cores.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        child.stdin.write(_ORDER.dump_json((order, folder)))
        child.stdin.close()
        complaints = asyncio.create_task(child.stderr.read())
        while line := await _next_line(child.stdout):
            on_progress(float(line))
        said = (await complaints).decode(errors="replace")[-500:]
        if await child.wait() != 0:
            log.error("learning tracks failed", reason=said)
            raise _damaged()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _next_line(report: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(_MOST_SILENT_SECONDS):
            return await report.readline()
    except TimeoutError as error:
        log.error("learning tracks failed", reason=f"no progress for {_MOST_SILENT_SECONDS:g} s")
        raise _damaged() from error


def _damaged() -> ModelError:
    return ModelError("the stems of this job cannot be mixed", code="damaged-stem")


def main() -> None:
    """The child."""
    os.nice(5)  # answers of the gateway go first
    order, folder = _ORDER.validate_json(sys.stdin.buffer.read())
    reported = -1.0

    def report(progress: float) -> None:
        nonlocal reported
        if progress - reported >= 0.01 or progress == 1:
            reported = progress
            sys.stdout.write(f"{progress:.3f}\n")
            sys.stdout.flush()

    make_tracks(order, folder, report)


if __name__ == "__main__":
    main()
