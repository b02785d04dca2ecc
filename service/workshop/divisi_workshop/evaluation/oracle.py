"""How far ratio masks reach when they are made from the true sources: the ceiling of the published systems.

They deliver through the same masks (Hann 2048, hop 256, exponent 1), made from their own estimates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples

WINDOW_LENGTH = 2048
HOP_LENGTH = 256
_TINY = 1e-12


def ratio_masked(mixture: Samples, sources: Samples) -> Samples:
    """The mixture through masks |S_v| / (Σ|S| + 1e-12), with the mixture's phase.

    Args:
        mixture: float32 (T,).
        sources: float32 (V, T).

    Returns:
        float32 (V, T).
    """
    magnitudes = np.abs(_spectrum(sources))
    masks = magnitudes / (magnitudes.sum(axis=0) + _TINY)
    return _samples(masks * _spectrum(mixture), mixture.shape[-1]).astype(np.float32)


def _window() -> NDArray[np.float64]:
    """Periodic Hann, float64 (WINDOW_LENGTH,)."""
    return np.hanning(WINDOW_LENGTH + 1)[:-1]


def _spectrum(samples: Samples) -> NDArray[np.complex128]:
    """Centred, mirrored at both ends. Takes (..., T), gives (..., N, F)."""
    edges = [(0, 0)] * (samples.ndim - 1) + [(WINDOW_LENGTH // 2, WINDOW_LENGTH // 2)]
    padded = np.pad(samples.astype(np.float64), edges, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_LENGTH, axis=-1)[..., ::HOP_LENGTH, :]
    return np.fft.rfft(frames * _window())


def _samples(spectrum: NDArray[np.complex128], num_samples: int) -> NDArray[np.float64]:
    """Inverse of `_spectrum`, least squares. Takes (..., N, F), gives (..., T)."""
    window = _window()
    frames = np.fft.irfft(spectrum, WINDOW_LENGTH) * window
    num_frames = frames.shape[-2]
    sums = np.zeros((*frames.shape[:-2], HOP_LENGTH * (num_frames - 1) + WINDOW_LENGTH))
    weights = np.zeros(sums.shape[-1])
    for number in range(num_frames):
        place = slice(number * HOP_LENGTH, number * HOP_LENGTH + WINDOW_LENGTH)
        sums[..., place] += frames[..., number, :]
        weights[place] += np.square(window)
    inside = slice(WINDOW_LENGTH // 2, WINDOW_LENGTH // 2 + num_samples)
    return np.asarray(sums[..., inside] / weights[inside])
