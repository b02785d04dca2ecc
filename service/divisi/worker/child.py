"""The worker's child: holds the engine, works on one assignment at a time, and dies with its supervisor.

Started by attempt.py as `python -m divisi.worker.child <pid of the supervisor> <fd for replies>`; assignments
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
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import structlog

from divisi.bootstrap import open_bundles, open_store
from divisi.contract.errors import DivisiError, InputError, ModelError, UnavailableError
from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest
from divisi.models.bundle import BundleStore
from divisi.models.engine import can_fit, measure_pace
from divisi.separation.fitted_separator import AnySeparator, open_separator
from divisi.separation.separator import Separator
from divisi.settings import Settings, load_settings
from divisi.telemetry import configure_logging, configure_tracing, get_logger, span
from divisi.timing import StageClock, WorkFigures
from divisi.worker.attempt import ASSIGNMENTS, REPLIES, Assignment, Done, Failed, Fault, Progress, Ready, Reply
from divisi.worker.process_job import engine_facts, process_job

log = get_logger(__name__)

# A GPU holds a few models; a worker that is asked for more in turn closes the one that was not used for longest.
MAX_WARM_MODELS = 3
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

    def send(reply: Reply) -> None:
        replies.write(REPLIES.dump_json(reply) + b"\n")

    try:
        store = open_store(settings)
        models = WarmModels(settings, open_bundles(settings))
        engine = models.warm_up()
    except DivisiError as error:
        send(Failed(_fault_of(error), Problem.from_error(error)))
        return
    send(Ready(engine))
    assignments = _read_assignments()

    def report(share: float, stage: str) -> None:
        send(Progress(share, stage))

    def work_on(assignment: Assignment) -> Reply:
        job, clock = assignment.job, StageClock()
        batches, failures = models.batches.copy(), store.failures.copy()

        def work() -> Manifest:
            separator = models.get(job.model_id, job.model_version)
            return process_job(assignment, separator, store, settings, report, clock)

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
        send(reply)


class WarmModels:
    """Separators by model and version, opened when first asked for and kept: loading takes longer than a short song."""

    def __init__(self, settings: Settings, bundles: BundleStore) -> None:
        self._settings = settings
        self._bundles = bundles
        self._open: OrderedDict[tuple[str, str], AnySeparator] = OrderedDict()
        self.batches: Counter[int] = Counter()
        """How often an engine was given how many segments at a time, over all models."""

    def get(self, model_id: str, model_version: str | None = None) -> AnySeparator:
        """The opened model.

        Raises:
            NotFoundError: no such model (`unknown-model`).
            ModelError: it does not open, or not on the configured device.
        """
        wanted = (model_id, model_version or self._bundles.get(model_id).card.version)
        if wanted not in self._open:
            while len(self._open) >= MAX_WARM_MODELS:
                _, oldest = self._open.popitem(last=False)
                oldest.engine.close()
            self._open[wanted] = open_separator(self._bundles.get(*wanted), self._settings, self.batches)
        self._open.move_to_end(wanted)
        return self._open[wanted]

    def warm_up(self) -> dict[str, Any]:
        """Opens the default model, or the first there is.

        Returns name, device, provider and versions of what runs it, and how fast it runs: `batch_size`, and
        `real_time_factor`, seconds of computing a second of audio. `can_fit` says whether fitted models run, too.

        Raises:
            ModelError: there is no model, or it does not open.
        """
        model_ids = self._bundles.model_ids()
        if not model_ids:
            raise ModelError(f"there is no model in {self._bundles.root}", code="no-models")
        default = self._settings.default_model
        separator = self.get(default if default in model_ids else model_ids[0])
        facts = engine_facts(separator) | {"can_fit": can_fit()}
        if isinstance(separator, Separator):
            pace = measure_pace(separator.engine, separator.card, separator.batch_size)
            facts |= {"batch_size": pace.batch_size, "real_time_factor": round(pace.real_time_factor, 4)}
        return facts


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
            assignments.put(ASSIGNMENTS.validate_json(line))
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
