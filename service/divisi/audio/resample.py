"""Changes of sample rate: a thin layer over soxr that fixes the length, so that going there and back keeps the sample
count.
"""

from __future__ import annotations

import numpy as np
import soxr

from divisi.audio.recording import Samples, check_samples


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    """T' = T · to / from, rounded half up in integers (floats would err on hours of audio)."""
    return (2 * num_samples * to_rate + from_rate) // (2 * from_rate)


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Resamples with soxr's high quality (linear phase, 20 bit).

    Args:
        samples: float32 `(C, T)`.
        from_rate: its rate in Hz.
        to_rate: the wanted rate in Hz.

    Returns:
        float32 `(C, T')`, T' as `resampled_length` says; a copy of the input where the rates are equal.
    """
    check_samples(samples)
    if from_rate == to_rate:
        return samples.copy()
    length = resampled_length(samples.shape[1], from_rate, to_rate)
    resampled = soxr.resample(np.ascontiguousarray(samples.T), from_rate, to_rate, quality="HQ").T
    return fit_length(resampled, length)


class StreamResampler:
    """The same as `resample`, block by block, in flat memory: the concatenated output equals the offline one.

    Args:
        num_channels: C of every block.
        from_rate: rate of the blocks in Hz.
        to_rate: wanted rate in Hz.
    """

    def __init__(self, num_channels: int, from_rate: int, to_rate: int) -> None:
        self._num_channels = num_channels
        self._from_rate = from_rate
        self._to_rate = to_rate
        self._taken = 0
        self._given = 0
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32", quality="HQ")
        )

    def push(self, block: Samples, *, is_last: bool = False) -> Samples:
        """Takes a block, gives what is ready.

        Args:
            block: float32 `(C, n)`, n may be 0.
            is_last: no block follows; what the filter still holds is given out.

        Returns:
            float32 `(C, m)`; over all calls m adds up to `resampled_length` of the samples taken.
        """
        check_samples(block, self._num_channels)
        self._taken += block.shape[1]
        if self._stream is None:
            return block
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=is_last).T
        left = resampled_length(self._taken, self._from_rate, self._to_rate) - self._given
        if is_last:
            ready = fit_length(ready, left)
        self._given += ready.shape[1]
        return np.ascontiguousarray(ready)


def fit_length(samples: Samples, length: int) -> Samples:
    """Cut, or padded with zeros, to `length` samples: soxr's own count may differ from the rounded one by a sample."""
    missing = length - samples.shape[1]
    if missing > 0:
        samples = np.pad(samples, ((0, 0), (0, missing)))
    return np.ascontiguousarray(samples[:, :length])
