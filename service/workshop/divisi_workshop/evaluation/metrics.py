"""How near an estimate is to its reference: SI-SDR as the published choral systems report it. Used by `protocol`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Part of the published formula: a ratio of nothing reads -80 dB.
_FLOOR = 1e-8
# Keeps an exact estimate, or a silent one, from a division by zero: far below the rounding of audible audio.
_TINY = 1e-12


def si_sdr_db(estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scale-invariant signal-to-distortion ratio in dB, without removal of the mean (Le Roux et al., 2019).

    With a = <e, t> / <t, t> for estimate e and reference t: 10 log10(|a t|² / |a t - e|² + 1e-8).

    Args:
        estimate: (..., T).
        reference: (..., T), the same shape or one that broadcasts to it.

    Returns:
        float64 (...).
    """
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    energy = np.square(reference).sum(-1, keepdims=True)
    target = (estimate * reference).sum(-1, keepdims=True) / np.maximum(energy, _TINY) * reference
    distortion = np.square(target - estimate).sum(-1)
    return np.asarray(10 * np.log10(np.square(target).sum(-1) / np.maximum(distortion, _TINY) + _FLOOR))
