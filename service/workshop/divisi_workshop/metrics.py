"""How near an estimate is to its reference: SI-SDR as the published choral systems report it."""

import numpy as np
from numpy.typing import NDArray

# Part of the published formula: a ratio of nothing reads -80 dB.
_FLOOR = 1e-8
# Keeps an exact estimate, or a silent one, from a division by zero: far below the rounding of audible audio.
_TINY = 1e-12
# Of a second in a mixture of peak 1 whose squares sum up to 10. Below it a voice is silent and its ratio says nothing.
QUIETEST_MEAN_SQUARE = 10 / 16_000


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


def frame_si_sdr_db(
    estimates: NDArray[np.floating], references: NDArray[np.floating], length: int
) -> NDArray[np.float64]:
    """SI-SDR of each frame of so many samples, NaN where the voice is silent.

    Shape: (V, T), a multiple of the length, twice; the references' mixture has peak 1 -> float64 (V, T / length).
    """
    references = references.reshape(len(references), -1, length)
    ratios = si_sdr_db(estimates.reshape(references.shape), references)
    is_sung = np.square(references, dtype=np.float64).mean(-1) >= QUIETEST_MEAN_SQUARE
    return np.where(is_sung, ratios, np.nan)


def mean_of_known(values: NDArray[np.floating]) -> float:
    """The mean of all that are not NaN; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
