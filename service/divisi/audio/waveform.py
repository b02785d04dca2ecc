"""A stretch of audio held in memory, with its rate. Long recordings never become one: they stay blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""float32 (C, T): channels, samples; full scale ±1."""


@dataclass(frozen=True)
class Waveform:
    """Audio in memory.

    Attributes:
        samples: float32 `(C, T)`, full scale ±1; values beyond are legal.
        sample_rate: Hz.

    Raises:
        ValueError: not float32, not two axes, no channel, or a rate below 1 Hz: a mistake of the caller's code.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.sample_rate < 1:
            raise ValueError(f"sample_rate must be at least 1 Hz, not {self.sample_rate}")

    @property
    def num_channels(self) -> int:
        """C."""
        return self.samples.shape[0]

    @property
    def num_samples(self) -> int:
        """T."""
        return self.samples.shape[1]

    @property
    def duration_seconds(self) -> float:
        """T over the rate."""
        return self.num_samples / self.sample_rate


def check_samples(samples: Samples, num_channels: int | None = None) -> None:
    """Raises ValueError unless `samples` is float32 `(C, T)` with C ≥ 1 (and C = `num_channels` where given)."""
    if samples.dtype != np.float32:
        raise ValueError(f"samples must be float32, not {samples.dtype}")
    if samples.ndim != 2 or samples.shape[0] < 1:
        raise ValueError(f"samples must have shape (channels, samples), not {samples.shape}")
    if num_channels is not None and samples.shape[0] != num_channels:
        raise ValueError(f"samples have {samples.shape[0]} channels, expected {num_channels}")
