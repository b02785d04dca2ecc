"""The supervisor's hold on its child: start it, give it a job, hear from it, kill it and all that it started.

The child is a new interpreter (nothing inherited but two pipes) in a process group of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Self

from divisi.contract.job import Job
from divisi.settings import Settings, child_environment
from divisi.worker.messages import Assignment, Reply, reply_from_line, to_line

# A manifest of many stems is one line.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_STDERR = 2


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
        """Gives the child a job; what becomes of it comes by `reply`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a child that is just dying: reply() tells
            self._process.stdin.write(to_line(Assignment(job, str(work_dir))))

    async def reply(self) -> Reply | None:
        """The next message; None when the child has died or talks nonsense."""
        try:
            line = await self._replies.readline()
            return reply_from_line(line) if line.endswith(b"\n") else None
        except ValueError:
            return None

    async def kill(self) -> None:
        """Kills the child and every process in its group, and waits until it is gone; may be called twice."""
        self.kill_now()
        await self._process.wait()
        self._pipe.close()

    def kill_now(self) -> None:
        """Kills without waiting."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def cause_of_death(self) -> str:
        """Waits for the end of a child whose pipe has ended; says how it died ("SIGSEGV", "exit code 1")."""
        code = await self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
