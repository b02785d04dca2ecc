"""Short-time power of all tracks of a separation side by side, as views and confidence read it.

tracks (K, C, n) ─► mean of the channels ─► windows, so many a second ─► power (K, N, F)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

# Seconds of audio in one window, about: partials of low voices stand apart.
_WINDOW_SECONDS = 0.11
# Frames transformed at a time, which bounds the memory.
_MOST_FRAMES = 64

Powers = NDArray[np.float32]


class PowerFrames:
    """Windows of K tracks that pass in blocks; the first is centred half a hop after the beginning.

    Args:
        num_tracks: K.
        sample_rate: Hz.
        frames_a_second: how many windows.
    """

    def __init__(self, num_tracks: int, sample_rate: int, frames_a_second: int) -> None:
        self.hop_length = max(1, round(sample_rate / frames_a_second))
        self.fft_length = 2 ** max(4, round(math.log2(_WINDOW_SECONDS * sample_rate)))
        self.frequencies = np.fft.rfftfreq(self.fft_length, 1 / sample_rate).astype(np.float64)
        self._window = np.hanning(self.fft_length + 1)[:-1].astype(np.float32)
        self._window /= self._window.sum() / 2  # a sine of amplitude 1 has power 1
        self._before = (self.fft_length - self.hop_length) // 2
        self._waiting = np.zeros((num_tracks, max(0, self._before)), np.float32)
        self._num_samples = 0
        self._num_frames = 0

    def push(self, tracks: NDArray[np.float32]) -> Iterator[Powers]:
        """Takes the next float32 (K, C, n); gives the frames that are complete, float32 (K, N, F)."""
        self._num_samples += tracks.shape[-1]
        self._waiting = np.concatenate([self._waiting, tracks.mean(axis=1)], axis=-1)
        yield from self._transform()

    def finish(self) -> Iterator[Powers]:
        """The last frames; what lies beyond the recording is silent. A frame for every hop that was begun."""
        wanted = -(-self._num_samples // self.hop_length) - self._num_frames
        if wanted > 0:
            length = (wanted - 1) * self.hop_length + self.fft_length
            missing = max(0, length - self._waiting.shape[-1])
            self._waiting = np.pad(self._waiting, ((0, 0), (0, missing)))[:, :length]
            yield from self._transform()

    def _transform(self) -> Iterator[Powers]:
        while (ready := 1 + (self._waiting.shape[-1] - self.fft_length) // self.hop_length) > 0:
            count = min(ready, _MOST_FRAMES)
            windows = sliding_window_view(self._waiting, self.fft_length, axis=-1)[:, :: self.hop_length][:, :count]
            spectra = np.fft.rfft(windows * self._window)
            self._waiting = self._waiting[:, count * self.hop_length :]
            self._num_frames += count
            yield (np.square(spectra.real) + np.square(spectra.imag)).astype(np.float32, copy=False)
