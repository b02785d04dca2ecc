"""Engines to be cruel to, named in settings as `engines:SlowEngine` with this folder on PYTHONPATH."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np

from divisi.bundles.store import ModelBundle
from divisi.engines.engine import EngineOptions
from divisi.engines.passthrough import PassthroughEngine

SLOW_SEGMENT_SECONDS = 0.1
# A segment whose first sample is this loud kills the process.
POISON_LEVEL = -0.75


class SlowEngine(PassthroughEngine):
    """Takes its time over each segment without using the processor, as a GPU would."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        time.sleep(SLOW_SEGMENT_SECONDS)
        return super().run(mixture, roster)


class PoisonableEngine(PassthroughEngine):
    """Reads from address 0 when it meets poison, as native code with a bug would."""

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        super().__init__(bundle, options)

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if np.any(np.abs(mixture - POISON_LEVEL) < 0.01):
            ctypes.string_at(0)
        return super().run(mixture, roster)


class DeafEngine(PassthroughEngine):
    """Says so, then holds the interpreter's lock for a minute: no other thread of the process runs."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        os.write(2, b"deaf\n")
        ctypes.PyDLL(None).sleep(60)
        return super().run(mixture, roster)
