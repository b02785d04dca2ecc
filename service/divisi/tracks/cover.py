"""The picture of a learning track: a row for each stem, how loud it is over the song; the part's own in colour."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_SIZE, _MARGIN, _BARS = 480, 24, 72
_PAPER, _QUIET = (250, 248, 244), (196, 192, 186)
# By row, as long as they last.
_COLOURS = ((196, 59, 83), (214, 129, 23), (43, 122, 120), (60, 85, 165), (122, 78, 150), (96, 124, 58))


def cover_png(levels: NDArray[np.float32], shown: Sequence[bool]) -> bytes:
    """A square picture, PNG.

    Args:
        levels: largest samples of each stem over the song, float32 (S, steps).
        shown: of each stem, whether its row is in colour.
    """
    image = np.empty((_SIZE, _SIZE, 3), np.uint8)
    image[:] = _PAPER
    num_rows = len(levels)
    height = (_SIZE - 2 * _MARGIN) / num_rows
    width = (_SIZE - 2 * _MARGIN) / _BARS
    bars = _bars(levels)
    for row in range(num_rows):
        middle = _MARGIN + (row + 0.5) * height
        colour = _COLOURS[row % len(_COLOURS)] if shown[row] else _QUIET
        for place, level in enumerate(bars[row]):
            half = max(1.0, 0.44 * height * float(level))
            left = round(_MARGIN + place * width)
            image[round(middle - half) : round(middle + half), left : left + max(1, round(width * 0.6))] = colour
    return _png(image)


def _bars(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest of equal stretches, the loudest bar of all at 1; float32 (S, bars)."""
    edges = np.linspace(0, levels.shape[1], _BARS + 1)
    stretches = [levels[:, int(begin) : max(int(begin) + 1, int(end))] for begin, end in pairwise(edges)]
    bars = np.stack([stretch.max(axis=1, initial=0) for stretch in stretches], axis=1)
    return np.asarray(bars / max(float(bars.max(initial=0)), 1e-9), np.float32)


def _png(image: NDArray[np.uint8]) -> bytes:
    """8-bit RGB, uint8 (height, width, 3), without filters (PNG specification, ISO/IEC 15948)."""
    height, width, _ = image.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks
    )
