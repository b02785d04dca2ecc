"""The worker's child: holds the engine, works on one assignment at a time, and dies with its supervisor.

Started by child_process.py as `python -m divisi.worker.child <pid of the supervisor> <fd for replies>`; assignments
come on stdin. It may be killed at any instant: what it leaves is a work folder that the supervisor removes, and objects
that no manifest names.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import structlog

from divisi.bootstrap import open_bundles, open_store
from divisi.contract.errors import DivisiError, InputError, UnavailableError
from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest
from divisi.settings import Settings, load_settings
from divisi.telemetry import configure_logging, configure_tracing, get_logger, span
from divisi.timing import StageClock
from divisi.worker.messages import (
    Assignment,
    Done,
    Failed,
    Fault,
    Progress,
    Ready,
    Reply,
    WorkFigures,
    assignment_from_line,
    to_line,
)
from divisi.worker.process_job import process_job
from divisi.worker.warm_models import WarmModels

log = get_logger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs until stdin ends, the supervisor dies, or the engine does not open."""
    supervisor_pid, reply_fd = int(sys.argv[1]), int(sys.argv[2])
    _die_with(supervisor_pid)
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, process="worker-child")
    configure_tracing("divisi-worker-child", settings.otel_endpoint)
    with os.fdopen(reply_fd, "wb", buffering=0) as replies:
        serve(settings, replies)


def serve(settings: Settings, replies: BinaryIO) -> None:
    """Opens the engine, then works on what comes on stdin."""

    def say(reply: Reply) -> None:
        replies.write(to_line(reply))

    try:
        store = open_store(settings)
        models = WarmModels(settings, open_bundles(settings))
        engine = models.warm_up()
    except DivisiError as error:
        say(Failed(_fault_of(error), Problem.from_error(error)))
        return
    say(Ready(engine))
    assignments = _read_assignments()

    def report(share: float, stage: str) -> None:
        say(Progress(share, stage))

    def work_on(assignment: Assignment) -> Reply:
        job, clock = assignment.job, StageClock()
        batches, failures = models.batches.copy(), store.failures.copy()

        def work() -> Manifest:
            separator = models.get(job.model_id, job.model_version)
            return process_job(job, separator, store, settings, Path(assignment.work_dir), report, clock)

        reply = _answer(job, work)
        figures = WorkFigures(clock.seconds, dict(models.batches - batches), dict(store.failures - failures))
        return replace(reply, figures=figures)

    while True:
        assignment = assignments.get()
        job = assignment.job
        with (
            structlog.contextvars.bound_contextvars(job_id=job.job_id, attempt=job.attempt),
            span("work", parent=job.trace, job_id=job.job_id, attempt=job.attempt),
        ):
            reply = work_on(assignment)
        say(reply)


def _answer(job: Job, work: Callable[[], Manifest]) -> Done | Failed:
    """Does the work; whatever goes wrong becomes a message."""
    try:
        return Done(work())
    except DivisiError as error:
        return Failed(_fault_of(error), Problem.from_error(error))
    except MemoryError:
        return Failed(Fault.UNEXPECTED, Problem("out-of-memory", "The worker ran out of memory."))
    except Exception as error:  # any bug costs an attempt, never the worker
        log.exception("attempt failed unexpectedly", job_id=job.job_id, attempt=job.attempt)
        return Failed(Fault.UNEXPECTED, Problem("internal-error", f"The worker failed: {type(error).__name__}."))


def _fault_of(error: DivisiError) -> Fault:
    if isinstance(error, InputError):
        return Fault.INPUT
    return Fault.UNAVAILABLE if isinstance(error, UnavailableError) else Fault.MODEL


def _read_assignments() -> queue.SimpleQueue[Assignment]:
    """Reads stdin in a thread, so that its end is noticed during a job too: the supervisor is gone, so are we."""
    assignments: queue.SimpleQueue[Assignment] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            assignments.put(assignment_from_line(line))
        os._exit(0)

    threading.Thread(target=read, name="assignments", daemon=True).start()
    return assignments


def _die_with(supervisor_pid: int) -> None:
    """Has the kernel kill this process when the supervisor dies, even by SIGKILL and while native code runs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:  # it died before the kernel knew
        os._exit(1)


if __name__ == "__main__":
    main()
