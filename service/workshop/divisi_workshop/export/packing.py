"""How the constants of a graph can be stored in fewer bytes without changing one of them.

Weights that were rounded to half precision fit float16; tables of small indices fit a byte; matrices of a filter bank
are nearly all zeros. Graphs widen or
fill them again by operators of their own (`packed_onnx.py`, `packed_torch_script.py`), which runtimes fold when they
load: whoever runs an artifact need not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Below, an operator more in the graph costs about what it saves.
_SMALLEST_COUNT = 256
# An entry of a sparse constant needs 12 bytes, of a dense one 2 or 4.
_LARGEST_DENSITY = 0.1


@dataclass(frozen=True)
class HalfConstant:
    """A constant that float16 holds exactly."""

    values: np.ndarray


@dataclass(frozen=True)
class ByteConstant:
    """A constant of type int64 that int8 holds exactly."""

    values: np.ndarray


@dataclass(frozen=True)
class SparseConstant:
    """The values that are not zero, float32, and where they lie in the flattened constant, int64 and ascending."""

    values: np.ndarray
    indices: np.ndarray
    shape: tuple[int, ...]


def pack(constant: np.ndarray) -> HalfConstant | ByteConstant | SparseConstant | None:
    """The shorter form of a constant; None where it stays as it is."""
    if constant.size < _SMALLEST_COUNT:
        return None
    if constant.dtype == np.int64:
        byte = constant.astype(np.int8)
        return ByteConstant(byte) if np.array_equal(byte, constant) else None
    if constant.dtype != np.float32:
        return None
    indices = np.flatnonzero(constant)
    # A zero with a sign would come back without it.
    if len(indices) <= _LARGEST_DENSITY * constant.size and not np.signbit(constant[constant == 0]).any():
        return SparseConstant(constant.ravel()[indices], indices.astype(np.int64), constant.shape)
    with np.errstate(over="ignore"):
        half = constant.astype(np.float16)
    return HalfConstant(half) if np.array_equal(half.astype(np.float32), constant) else None
