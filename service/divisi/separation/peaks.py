"""Waveforms to draw: smallest and largest samples of short stretches, in three resolutions (`peaks.json`).

Made while a recording passes, so that nobody decodes stems to see them. `views.py` writes the file.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of the finest level: with six tracks the file stays below 200 kB whatever the recording's length.
MOST_POINTS = 8192
_FEWEST_SAMPLES = 64
_SAMPLES_WHERE_LENGTH_IS_UNKNOWN = 1024
_NUM_LEVELS, _COARSER = 3, 4
_FULL = 127

Points = NDArray[np.float32]


class PeakTracks:
    """Extremes of K tracks that pass in blocks.

    Args:
        names: of the tracks, K.
        num_samples: length of the recording as far as it is known; it decides how many points are held.
    """

    def __init__(self, names: Sequence[str], num_samples: int | None) -> None:
        self._names = names
        self._width = _SAMPLES_WHERE_LENGTH_IS_UNKNOWN
        if num_samples:
            self._width = max(_FEWEST_SAMPLES, 2 ** math.ceil(math.log2(num_samples / MOST_POINTS)))
        # float32 (2, K, n): smallest and largest.
        self._waiting = np.zeros((2, len(names), 0), np.float32)
        self._points: list[Points] = []
        self._num_samples = 0

    def push(self, tracks: NDArray[np.float32]) -> None:
        """Takes the next float32 (K, C, n)."""
        self._num_samples += tracks.shape[-1]
        self._waiting = np.concatenate([self._waiting, np.stack([tracks.min(axis=1), tracks.max(axis=1)])], axis=-1)
        whole = self._waiting.shape[-1] // self._width * self._width
        if whole:
            self._points.append(_merged(self._waiting[..., :whole], self._width))
            self._waiting = self._waiting[..., whole:]

    def finish(self, sample_rate: int) -> dict[str, Any]:
        """The document."""
        if self._waiting.shape[-1]:
            self._points.append(_merged(self._waiting, self._waiting.shape[-1]))
        points = np.concatenate(self._points, axis=-1) if self._points else self._waiting
        factor = max(1, math.ceil(points.shape[-1] / MOST_POINTS))
        levels, width = [_merged(points, factor)], self._width * factor
        for _ in range(_NUM_LEVELS - 1):
            levels.append(_merged(levels[-1], _COARSER))
        return {
            "sample_rate": sample_rate,
            "num_samples": self._num_samples,
            "levels": [
                {"samples_per_point": width * _COARSER**number, "num_points": level.shape[-1]}
                for number, level in enumerate(levels)
            ],
            "tracks": {name: _track([level[:, place] for level in levels]) for place, name in enumerate(self._names)},
        }


def _track(levels: Sequence[Points]) -> dict[str, Any]:
    """Of float32 (2, points) for each level."""
    peak = float(np.abs(levels[0]).max(initial=0))
    return {"peak": round(peak, 6), "levels": [_packed(level, peak) for level in levels]}


def _packed(level: Points, peak: float) -> str:
    """Pairs of int8, rounded outwards: a click stays to be seen."""
    scaled = level * (_FULL / peak) if peak else level
    whole = np.stack([np.floor(scaled[0]), np.ceil(scaled[1])], axis=-1).clip(-_FULL, _FULL)
    return base64.b64encode(whole.astype(np.int8).tobytes()).decode()


def _merged(points: Points, factor: int) -> Points:
    """Every `factor` points as one; the last may be of fewer."""
    starts = np.arange(0, points.shape[-1], factor)
    if not len(starts):
        return points
    low, high = points
    return np.stack([np.minimum.reduceat(low, starts, axis=-1), np.maximum.reduceat(high, starts, axis=-1)])
