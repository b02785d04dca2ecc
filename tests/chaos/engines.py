"""Engines to be cruel to, named in settings as `engines:SlowEngine` with this folder on PYTHONPATH."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import psutil

from divisi.models.agreement import PassthroughEngine
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

SLOW_SEGMENT_SECONDS = 0.1
# A segment with a sample of this level kills the process.
POISON_LEVEL = -0.75
# A segment with a sample of this level asks for more memory than there is.
HUNGRY_LEVEL = -0.85
# A segment with a sample of this level has the process killed as the kernel does when memory runs out.
KILLED_LEVEL = -0.95
HEAVY_BYTES = 256 * 1024**2


class SlowEngine(PassthroughEngine):
    """Takes its time over each segment without using the processor, as a GPU would."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        time.sleep(SLOW_SEGMENT_SECONDS)
        return super().run(mixture, roster)


class EndlessEngine(PassthroughEngine):
    """From the second segment with a sound on it works without end: its job ends only by being ended."""

    _num_sounding = 0

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self._num_sounding += bool(np.any(mixture))
        while self._num_sounding > 1 and not self._may_go_on():
            time.sleep(SLOW_SEGMENT_SECONDS / 10)
        return super().run(mixture, roster)

    def _may_go_on(self) -> bool:
        return False


class WaitingEngine(EndlessEngine):
    """Works on when there is the file that WAIT_FOR names."""

    def _may_go_on(self) -> bool:
        return Path(os.environ["WAIT_FOR"]).exists()


class HeavyEngine(SlowEngine):
    """Slow, and holds a quarter of a gigabyte, as a model on a GPU would."""

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        super().__init__(bundle, options)
        self._weights = np.ones(HEAVY_BYTES, np.uint8)


class PoisonableEngine(PassthroughEngine):
    """Reads from address 0 when it meets poison, as native code with a bug would, or runs out of memory."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if np.any(np.abs(mixture - POISON_LEVEL) < 0.01):
            ctypes.string_at(0)
        if np.any(np.abs(mixture - HUNGRY_LEVEL) < 0.01):
            used, most = psutil.Process().memory_info().vms, 512 * 1024**2
            resource.setrlimit(resource.RLIMIT_AS, (used + most, resource.RLIM_INFINITY))
            np.ones(2 * most, np.uint8)
        if np.any(np.abs(mixture - KILLED_LEVEL) < 0.01):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(mixture, roster)


class DeafEngine(PassthroughEngine):
    """At a sound it says so, then holds the interpreter's lock for an hour: no other thread of the process runs."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if np.any(mixture):
            os.write(2, b"deaf\n")
            ctypes.PyDLL(None).sleep(3600)
        return super().run(mixture, roster)
