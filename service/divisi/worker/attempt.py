"""One attempt at one job: the child that works on it, their messages, and how the attempt ends.

Between supervisor.py, which claims, and the queue, which has the last word: nothing is published unless `commit` is
accepted, and every other end leaves nothing behind.

The child (child.py) is a new interpreter, with nothing inherited but two pipes, in a process group of its own. The two
exchange messages, one JSON object a line, never pickle: to the child `Assignment`, from the child `Ready` once, then
for each assignment any number of `Progress` and one `Done` or `Failed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter

from divisi.contract.errors import UnavailableError
from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest
from divisi.queue.worker_side import Claim, LeaseAnswer, WorkerSide
from divisi.settings import Settings, child_environment
from divisi.telemetry import get_logger
from divisi.timing import WorkFigures
from divisi.worker.health import Ending, WorkerHealth

log = get_logger(__name__)

# Progress is passed on, a cancel noticed, and a Redis that is away tried again, at least this often.
TICK_SECONDS = 0.25
_LONGEST_BEAT_SECONDS = 1.0
# A manifest of many stems is one line.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_STDERR = 2


class Fault(StrEnum):
    """Whose fault a failure is, which decides what becomes of the job."""

    INPUT = "input"  # the recording: failed at once
    MODEL = "model"  # ours: failed at once, and a dead letter
    UNAVAILABLE = "unavailable"  # the store or a model server is away: later again
    UNEXPECTED = "unexpected"  # a bug or want of memory: another attempt in a new child


@dataclass(frozen=True)
class Assignment:
    """Work on this job as this attempt; use `work_dir`, an empty folder that the supervisor removes."""

    job: Job
    work_dir: Path


@dataclass(frozen=True)
class Ready:
    """The engine is warm."""

    engine: dict[str, Any]
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Progress:
    """How far the attempt got."""

    progress: float
    stage: str
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True)
class Done:
    """All stems are in the store."""

    manifest: Manifest
    figures: WorkFigures = field(default_factory=WorkFigures)
    kind: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """The attempt (or, before Ready, the start of the engine) came to nothing."""

    fault: Fault
    problem: Problem
    figures: WorkFigures = field(default_factory=WorkFigures)
    kind: Literal["failed"] = "failed"


Reply = Ready | Progress | Done | Failed
REPLIES: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
ASSIGNMENTS: TypeAdapter[Assignment] = TypeAdapter(Assignment)


class ChildProcess:
    """One child. Make it with `start`, end it with `kill`."""

    def __init__(self, process: asyncio.subprocess.Process, replies: asyncio.StreamReader, pipe: asyncio.BaseTransport):
        self._process = process
        self._replies = replies
        self._pipe = pipe

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """Starts a child; its first message is Ready, or Failed when the engine does not open."""
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        replies = asyncio.StreamReader(_LONGEST_LINE_BYTES)
        pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(replies), os.fdopen(read_end, "rb"))
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "divisi.worker.child", str(os.getpid()), str(write_end)),
                stdin=asyncio.subprocess.PIPE,
                stdout=_STDERR,
                pass_fds=(write_end,),
                env=child_environment(settings),
                start_new_session=True,
            )
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(write_end)  # else the pipe would never end
        return cls(process, replies, pipe)

    @property
    def pid(self) -> int:
        """Process id = process group id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once the process has ended."""
        return self._process.returncode is None

    def assign(self, job: Job, work_dir: Path) -> None:
        """Sends the child a job; what becomes of it comes by `reply`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the child is just dying, which reply() detects
            self._process.stdin.write(ASSIGNMENTS.dump_json(Assignment(job, work_dir)) + b"\n")

    async def reply(self) -> Reply | None:
        """The next message; None when the child has died or sends anything else."""
        try:
            line = await self._replies.readline()
            return REPLIES.validate_json(line) if line.endswith(b"\n") else None
        except ValueError:
            return None

    async def kill(self) -> str:
        """Kills the child and every process in its group, and waits until it is gone; may be called twice.

        Returns how it ended, which may have been before: "SIGKILL", "SIGSEGV", "exit code 1".
        """
        self.kill_now()
        code = await self._process.wait()
        self._pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill_now(self) -> None:
        """Kills without waiting."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Outcome:
    """What to report to the queue. `keeps_child`: the child is idle and well, and stays warm for the next job."""

    ending: Ending
    keeps_child: bool = False
    problem: Problem | None = None
    reply: Done | Failed | None = None

    @classmethod
    def of(cls, reply: Done | Failed) -> Self:
        """What the child's answer comes to."""
        if isinstance(reply, Done):
            return cls(Ending.SUCCEEDED, True, reply=reply)
        endings = {Fault.UNAVAILABLE: Ending.DEFERRED, Fault.UNEXPECTED: Ending.CRASHED}
        return cls(endings.get(reply.fault, Ending.FAILED), reply.fault is not Fault.UNEXPECTED, reply.problem, reply)


@dataclass
class Attempt:
    """Runs one claim. `run` finds the outcome, `settle` reports it to the queue."""

    claim: Claim
    child: ChildProcess
    queue: WorkerSide
    settings: Settings
    health: WorkerHealth
    _progress: Progress = Progress(0.0, "starting")

    async def run(self, drain_deadline: asyncio.Future[None]) -> Outcome:
        """Waits for the first of: the child's answer, the end of the lease, the time limit, the end of draining.

        The job must have been assigned to the child. It may be busy still when this returns: `Outcome.keeps_child`.
        """
        work = asyncio.create_task(self._follow_child())
        lease = asyncio.create_task(self._hold_lease())
        limit = self.settings.job_timeout_seconds
        try:
            ends: list[asyncio.Future[Any]] = [work, lease, drain_deadline]
            await asyncio.wait(ends, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            # The child's answer first: after a freeze both are there, and the queue, not we, decides who was late.
            if work.done():
                return work.result()
            if lease.done():
                return Outcome(Ending(lease.result().value))
            if drain_deadline.done():
                return Outcome(Ending.HANDED_BACK, problem=Problem("worker-stopped", "The worker was stopped."))
            message = f"The attempt took longer than {limit:g} s."
            return Outcome(Ending.CRASHED, problem=Problem("job-timeout", message, {"limit_seconds": limit}))
        finally:
            for task in (work, lease):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def settle(self, outcome: Outcome, give_up: asyncio.Future[None]) -> Ending | None:
        """Reports to the queue, again while Redis is away, until `give_up`; then the lease runs out by itself.

        Returns:
            How the attempt ended after all: LOST when the queue refused, because another attempt has taken over; None
            when that is not known.
        """
        if outcome.ending in (Ending.LOST, Ending.CANCELLED):
            return outcome.ending  # the queue knows
        while not give_up.done():
            self.health.pulse()
            try:
                answer = await self._report(outcome)
            except UnavailableError as error:
                self.health.is_redis_away = True
                log.warning("the outcome cannot be reported", ending=outcome.ending, reason=error.message)
                await asyncio.wait([give_up], timeout=TICK_SECONDS)
                continue
            self.health.is_redis_away = False
            return outcome.ending if answer is LeaseAnswer.OK else Ending(answer.value)
        return None

    async def _report(self, outcome: Outcome) -> LeaseAnswer:
        claim, queue, reply, problem = self.claim, self.queue, outcome.reply, outcome.problem
        if isinstance(reply, Done):
            return await queue.commit(claim, reply.manifest)
        assert problem is not None
        match outcome.ending:
            case Ending.FAILED:
                is_dead_letter = isinstance(reply, Failed) and reply.fault is Fault.MODEL
                return await queue.fail(claim, problem, is_dead_letter=is_dead_letter)
            case Ending.DEFERRED:
                return await queue.defer(claim, problem)
            case Ending.HANDED_BACK:
                return await queue.hand_back(claim, problem)
        return await queue.give_up_attempt(claim, problem)

    async def _follow_child(self) -> Outcome:
        while True:
            reply = await self.child.reply()
            if isinstance(reply, Progress):
                self._progress = reply
            elif isinstance(reply, Done | Failed):
                return Outcome.of(reply)
            else:
                cause = await self.child.kill()  # it may have closed its pipe and live on
                message = f"The process that held the engine died ({cause})."
                return Outcome(Ending.CRASHED, problem=Problem("worker-crashed", message, {"cause": cause}))

    async def _hold_lease(self) -> LeaseAnswer:
        """Beats and reports until the queue says that the job is no longer ours."""
        clock = asyncio.get_running_loop()
        beat_seconds = min(self.settings.lease_seconds / 3, _LONGEST_BEAT_SECONDS)
        beat_at, reported = clock.time(), self._progress
        while True:
            await asyncio.sleep(min(TICK_SECONDS, beat_seconds))
            self.health.pulse()
            try:
                answer = LeaseAnswer.OK
                if clock.time() - beat_at >= beat_seconds:
                    answer = await self.queue.beat(self.claim)
                    beat_at = clock.time()
                elif self._progress != reported:
                    reported = self._progress
                    answer = await self.queue.report(self.claim, reported.progress, reported.stage)
                self.health.is_redis_away = False
            except UnavailableError:
                # While Redis is away nobody can take the job from us; go on and let the fence decide.
                self.health.is_redis_away = True
                continue
            if answer is not LeaseAnswer.OK:
                return answer
