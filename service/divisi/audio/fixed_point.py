"""From float samples to whole numbers: the one rounding that every fixed-point stem goes through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples


def to_fixed_point(samples: Samples, bits: int) -> tuple[NDArray[np.int32], int]:
    """Rounds to the nearest step and clips at full scale. No dither: the stems must add up to the input again.

    Args:
        samples: float32 `(C, n)`, full scale ±1.
        bits: word length, 16 or 24; one step is 2^(1 - bits).

    Returns:
        int32 `(C, n)` within −2^(bits−1) … 2^(bits−1) − 1, and how many samples lay beyond ±1.
        (+1 exactly has no word of its own: it takes the highest one, a step below, and does not count.)
    """
    half_scale = 1 << (bits - 1)
    # float32 holds every 24-bit word exactly, so the product is exact and the only rounding is rint's.
    scaled = np.rint(samples * np.float32(half_scale))
    num_clipped = int(np.count_nonzero(np.abs(samples) > 1.0))
    # The upper end is clipped after the conversion: 2^23 − 1 is a float32, 2^31 − 1 would not be.
    np.clip(scaled, -half_scale, half_scale, out=scaled)
    words = scaled.astype(np.int32)
    np.minimum(words, half_scale - 1, out=words)
    return words, num_clipped


def as_held(samples: Samples, bits: int | None) -> NDArray[np.float64]:
    """What a lossless file holds of float32 `(C, n)`: rounded to `bits` and cut at full scale; None: floats."""
    if bits is None:
        return samples.astype(np.float64)
    return to_fixed_point(samples, bits)[0] / (1 << (bits - 1))
