"""What a fitter is: it explains one recording by several microphones, iteration by iteration. Beside `engine`.

An engine runs a trained graph once; a fitter has a state that grows better, so that whoever drives it can report
progress, or stop, between two iterations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from divisi.bundles.fit_plan import FitPlan


class Fitter(Protocol):
    """One opened fitted model. Not thread-safe; holds one recording at a time."""

    @property
    def name(self) -> str:
        """The adapter's name in `ENGINES`."""

    @property
    def device(self) -> str:
        """Where it really runs, such as `cpu` or `cuda:0`."""

    @property
    def provider(self) -> str:
        """What computes there, as `Engine.provider`."""

    def num_steps(self, plan: FitPlan) -> int:
        """Iterations of all kinds that `fit` takes."""

    def fit(self, stretches: np.ndarray, plan: FitPlan) -> Iterator[None]:
        """Fits everything, room and instruments, to some stretches of a recording; yields after each iteration.

        Args:
            stretches: float32 (B, C, T), each as long as a window at least.

        Raises:
            ModelError: code `engine-failed`, `engine-closed`.
        """

    def levels(self) -> np.ndarray:
        """Power of each source at each microphone, after `fit`: float64 (S, C)."""

    def adapt(self, stretch: np.ndarray, num_iterations: int) -> Iterator[None]:
        """Keeps the room of the last `fit`, and finds who plays when in another stretch of the same recording.

        Args:
            stretch: float32 (C, T).
        """

    def image(self, source: int) -> np.ndarray:
        """One source as it sounds in what was given last: float32 (B, C, T); all images together are what was given.

        Raises:
            ModelError: code `non-finite-estimates`.
        """

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
