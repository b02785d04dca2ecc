"""Where in a long recording a fit learns the room: a few stretches in which, together, every microphone hears much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples

_BLOCK_SECONDS = 0.5


class ActivityMeter:
    """Follows how loud each microphone is.

    Args:
        num_channels: C.
        sample_rate: Hz.
    """

    def __init__(self, num_channels: int, sample_rate: int) -> None:
        self._block_length = max(round(_BLOCK_SECONDS * sample_rate), 1)
        self._energies = [np.zeros(num_channels)]
        self._num_in_block = 0

    def push(self, block: Samples) -> None:
        """Takes the next samples, float32 (C, n)."""
        while block.shape[1]:
            part, block = np.split(block, [self._block_length - self._num_in_block], axis=1)
            self._energies[-1] += np.square(part, dtype=np.float64).sum(axis=1)
            self._num_in_block += part.shape[1]
            if self._num_in_block == self._block_length:
                self._energies.append(np.zeros(len(self._energies[0])))
                self._num_in_block = 0

    def most_active(self, num_stretches: int, stretch_length: int) -> list[int]:
        """First samples of the stretches, rising; they do not overlap.

        One after the other is chosen, whichever adds most: sum over microphones of the logarithm of the energy that the
        chosen ones hold, each against the microphone's mean. So a second solo of the loudest player counts less than
        the only bars of the quietest.

        Args:
            num_stretches: how many are wanted; fewer when the recording holds no more.
            stretch_length: samples of each.
        """
        energies = np.stack(self._energies[:-1] or self._energies)
        per_stretch = max(stretch_length // self._block_length, 1)
        sums = np.lib.stride_tricks.sliding_window_view(energies, min(per_stretch, len(energies)), axis=0).sum(-1)
        activity = sums / np.maximum(sums.mean(axis=0), np.finfo(np.float64).tiny)
        chosen: list[int] = []
        held: NDArray[np.float64] = np.zeros(energies.shape[1])
        is_free = np.ones(len(activity), dtype=bool)
        while is_free.any() and len(chosen) < num_stretches:
            worth = np.log1p(held + activity).sum(axis=1)
            best = int(np.where(is_free, worth, -np.inf).argmax())
            chosen.append(best)
            held = held + activity[best]
            is_free[max(best - per_stretch + 1, 0) : best + per_stretch] = False
        return [place * self._block_length for place in sorted(chosen)]
