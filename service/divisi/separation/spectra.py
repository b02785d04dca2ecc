"""Short-time Fourier transform of a stream and back, a chunk of frames at a time, in flat memory.

Hann windows (periodic) at analysis and synthesis with hops of a quarter window: their squares add up to 3/2 everywhere,
so what is analysed and not changed comes back exact. The first frame starts three hops before the first sample.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Spectra = NDArray[np.complex64]
Stream = NDArray[np.float32]

_OVERLAP = 4
_WINDOW_POWER = 1.5
# Sizes of the fast paths of the FFT.
_SMALL_PRIMES = (2, 3, 5, 7, 11)


def window_length_near(samples: float) -> int:
    """The window length nearest to `samples` whose quarter is whole and whose transform is fast; at least 16."""
    best = 16
    for length in range(16, 2 * max(int(samples), 16), _OVERLAP):
        if abs(length - samples) < abs(best - samples) and _is_smooth(length):
            best = length
    return best


class Analysis:
    """Spectra of a stream.

    Args:
        window_length: samples of a window, a multiple of 4.
        axes: sizes of the stream's axes but the last, such as (C,).
    """

    def __init__(self, window_length: int, *axes: int) -> None:
        self._window = _hann(window_length)
        self._hop_length = window_length // _OVERLAP
        # What the next frames reach back to; silence before the first sample.
        self._before = np.zeros((*axes, window_length - self._hop_length), np.float32)

    def push(self, samples: Stream) -> Spectra:
        """Takes float32 (..., N * hop), gives complex64 (..., N, F): the frames that end with these hops."""
        stream = np.concatenate([self._before, samples], axis=-1)
        self._before = stream[..., samples.shape[-1] :].copy()
        frames = np.lib.stride_tricks.sliding_window_view(stream, len(self._window), axis=-1)
        # Single precision in, single precision out; NumPy's annotations do not know.
        return cast(Spectra, np.fft.rfft(frames[..., :: self._hop_length, :] * self._window))


class Synthesis:
    """A stream from spectra; it lags three hops behind what `Analysis` was given.

    Args:
        window_length: samples of a window, a multiple of 4.
        axes: sizes of the stream's axes but the last, such as (C,).
    """

    def __init__(self, window_length: int, *axes: int) -> None:
        self._window = _hann(window_length) / np.float32(_WINDOW_POWER)
        self._hop_length = window_length // _OVERLAP
        self._after = np.zeros((*axes, _OVERLAP - 1, self._hop_length), np.float32)

    def push(self, spectra: Spectra) -> Stream:
        """Takes complex64 (..., N, F), gives float32 (..., N * hop): the hops that these frames complete."""
        *axes, num_frames, _ = spectra.shape
        frames = np.fft.irfft(spectra, len(self._window))
        frames *= self._window
        hops = np.zeros((*axes, num_frames + _OVERLAP - 1, self._hop_length), np.float32)
        hops[..., : _OVERLAP - 1, :] = self._after
        quarters = frames.reshape(*axes, num_frames, _OVERLAP, self._hop_length)
        for quarter in range(_OVERLAP):
            hops[..., quarter : quarter + num_frames, :] += quarters[..., quarter, :]
        self._after = hops[..., num_frames:, :].copy()
        return hops[..., :num_frames, :].reshape(*axes, -1)


def _hann(length: int) -> Stream:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def _is_smooth(number: int) -> bool:
    for prime in _SMALL_PRIMES:
        while number % prime == 0:
            number //= prime
    return number == 1
