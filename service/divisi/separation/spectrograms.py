"""Spectrograms to look at: one image a track over a logarithmic frequency axis, never wider than `MOST_COLUMNS`.

Columns are gathered while a recording passes; where they would become too many, every two become one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from divisi.separation.power_frames import Powers

MOST_COLUMNS, HEIGHT = 2048, 192
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
# Below the loudest spot of all tracks; quieter is black.
_RANGE_DB = 70.0
_TINY = 1e-12
# Red, green, blue at equal distances from quiet to loud: dark blue, violet, red, orange, pale yellow.
_COLOURS = ((6, 6, 18), (48, 18, 92), (122, 28, 109), (188, 55, 84), (237, 105, 37), (251, 180, 50), (252, 255, 190))

Images = NDArray[np.uint8]


class SpectrogramTracks:
    """Columns of K tracks.

    Args:
        num_tracks: K.
        frequencies: of the bins, Hz, (F,).
    """

    def __init__(self, num_tracks: int, frequencies: NDArray[np.float64]) -> None:
        edges = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(HEIGHT) / HEIGHT)
        spacing = frequencies[1]
        self._first_bins = np.rint(edges / spacing).astype(int).clip(0, len(frequencies) - 1)
        self._end_bin = min(len(frequencies), math.ceil(HIGHEST_HZ / spacing) + 1)
        self._is_beyond = edges > frequencies[-1]
        # float32 (columns, K, HEIGHT): mean power.
        self._columns = np.zeros((MOST_COLUMNS, num_tracks, HEIGHT), np.float32)
        self._num_columns = 0
        self._frames_a_column = 1
        self._sum = np.zeros((num_tracks, HEIGHT), np.float32)
        self._num_summed = 0

    def push_powers(self, powers: Powers) -> None:
        """Takes float32 (K, N, F)."""
        # Of each row the loudest bin: a partial stays as bright as it is, however many bins a row has.
        rows = np.maximum.reduceat(powers[..., : self._end_bin], self._first_bins, axis=-1)
        rows[..., self._is_beyond] = 0
        for frame in rows.swapaxes(0, 1):
            self._sum += frame
            self._num_summed += 1
            if self._num_summed == self._frames_a_column:
                self._add_column()

    def finish(self) -> Images:
        """Shades, uint8 (K, HEIGHT, columns), the highest frequency in the first row."""
        if self._num_summed:
            self._add_column()
        levels = 10 * np.log10(self._columns[: max(1, self._num_columns)] + _TINY)
        loudest = max(float(levels.max()), -60.0)
        shades = ((levels - loudest) / _RANGE_DB + 1).clip(0, 1) * 255
        return shades.astype(np.uint8).transpose(1, 2, 0)[:, ::-1]

    def _add_column(self) -> None:
        if self._num_columns == MOST_COLUMNS:
            half = MOST_COLUMNS // 2
            self._columns[:half] = (self._columns[0::2] + self._columns[1::2]) / 2
            self._num_columns = half
            self._frames_a_column *= 2
            if self._num_summed < self._frames_a_column:
                return
        self._columns[self._num_columns] = self._sum / self._num_summed
        self._num_columns += 1
        self._sum[:] = 0
        self._num_summed = 0


def palette_image(shades: Images) -> Image.Image:
    """An image in the palette of all our spectrograms, of uint8 (height, width)."""
    image = Image.fromarray(np.ascontiguousarray(shades)).convert("L")
    image.putpalette(_palette())
    return image


def _palette() -> list[int]:
    places = np.linspace(0, len(_COLOURS) - 1, 256)
    channels = [np.interp(places, range(len(_COLOURS)), channel) for channel in zip(*_COLOURS, strict=True)]
    return np.rint(np.stack(channels, axis=-1)).astype(int).ravel().tolist()
