"""How much of a stretch of sound is noise: hiss, wind, applause, in which no pitch stands out.

The power of noise in neighbouring bins scatters by chance, so their geometric mean is 0.56 of their mean (e to the
power of minus Euler's constant). Tones put nearly all power into few bins: choirs have 0.03 to 0.1 in most half
seconds, a piano 0.04.
"""

from __future__ import annotations

import numpy as np

from divisi.audio.recording import Samples

NOISE = 0.4
"""Flatter is noise."""
# Where voices have most of their power; more than one partial in each band.
_LOWEST_HZ, _HIGHEST_HZ, _BAND_HZ = 100.0, 4000.0, 128.0


def local_flatness(frame: Samples, sample_rate: int) -> float:
    """Geometric by arithmetic mean of the power in bands, the loud bands counting most; 0 of silence.

    Args:
        frame: some tenths of a second, float32 (C, n); its loudest channel is looked at.
        sample_rate: Hz.
    """
    loudest = frame[int(np.square(frame, dtype=np.float64).sum(axis=1).argmax())]
    powers = np.square(np.abs(np.fft.rfft(loudest * np.hanning(len(loudest)))))
    bin_hz = sample_rate / len(loudest)
    first, end = int(_LOWEST_HZ / bin_hz), int(min(_HIGHEST_HZ, 0.45 * sample_rate) / bin_hz)
    width = max(int(_BAND_HZ / bin_hz), 1)
    bands = powers[first : first + max(end - first, 0) // width * width].reshape(-1, width)
    total = bands.mean(axis=1).sum()
    if not total:
        return 0.0
    return float(np.exp(np.log(bands + np.finfo(np.float64).tiny).mean(axis=1)).sum() / total)
