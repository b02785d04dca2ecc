"""Samples that wait: blocks of any length go in, stretches of a wanted length come out, nothing is copied twice."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Stream = NDArray[np.float32]


class SampleQueue:
    """First in, first out, along the last axis.

    Args:
        axes: sizes of all axes but the last, such as (C,).
    """

    def __init__(self, *axes: int) -> None:
        self.axes = axes
        self._blocks: deque[Stream] = deque()
        self._length = 0

    def __len__(self) -> int:
        """Samples that wait."""
        return self._length

    def push(self, block: Stream) -> None:
        """Takes float32 (*axes, n), n ≥ 0; the block is kept, not copied."""
        if block.shape[:-1] != self.axes:
            raise ValueError(f"a block of shape {block.shape} does not continue {self.axes}")
        if block.shape[-1]:
            self._blocks.append(block)
            self._length += block.shape[-1]

    def pop(self, length: int) -> Stream:
        """The first `length` samples, float32 (*axes, length). Raises ValueError when fewer wait."""
        if length > self._length:
            raise ValueError(f"{length} samples asked for, {self._length} wait")
        parts = []
        missing = length
        while missing:
            block = self._blocks.popleft()
            parts.append(block[..., :missing])
            if block.shape[-1] > missing:
                self._blocks.appendleft(block[..., missing:])
            missing -= parts[-1].shape[-1]
        self._length -= length
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=-1) if parts else np.zeros((*self.axes, 0), np.float32)
