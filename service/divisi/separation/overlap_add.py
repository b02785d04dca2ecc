"""Joins what a network made of overlapping segments into one stream. See `segments` for how they were cut.

Neighbours meet in the middle of their overlap, away from either's edge, in a linear cross-fade: both estimate the same
source, so amplitudes (not powers) add up to one. Works along the last axis, on samples and on frames of pitch alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stream = NDArray[np.float32]


class OverlapAdd:
    """Takes segments in order, gives what no later segment can change; holds less than one segment.

    Args:
        context_length: elements at the end of each segment, and at the start of its successor, that are not used.
        fade_length: elements before that over which a segment gives way to its successor.
    """

    def __init__(self, context_length: int, fade_length: int) -> None:
        self._margin = context_length + fade_length
        self._fade_length = fade_length
        # Symmetric and never 0 or 1: each element hears both neighbours.
        self._fade_in = ((np.arange(fade_length) + 0.5) / max(fade_length, 1)).astype(np.float32)
        self._tail: Stream | None = None
        self._tail_start = 0

    def push(self, start: int, segment: Stream) -> Stream:
        """Takes one segment.

        Args:
            start: place of its first element in the whole; 0 for the first, then rising.
            segment: float32 (..., L). Unless it is the first, it reaches from its context before the place where its
                predecessor begins to fade, to beyond its predecessor's end.

        Returns:
            float32 (..., n): the elements that follow those given before; n may be 0.
        """
        if self._tail is None:
            stream, stream_start = segment, start
        else:
            stream, stream_start = self._joined(self._tail, segment[..., self._tail_start - start :]), self._tail_start
        ready = max(stream.shape[-1] - self._margin, 0)
        self._tail, self._tail_start = stream[..., ready:].copy(), stream_start + ready
        return stream[..., :ready]

    def finish(self, length: int) -> Stream:
        """The rest of a whole of `length` elements: the last segment up to its very end."""
        if self._tail is None:
            raise ValueError("there was no segment to finish")
        rest = self._tail[..., : length - self._tail_start]
        if rest.shape[-1] != length - self._tail_start:
            raise ValueError(f"the segments end at {self._tail_start + rest.shape[-1]}, {length} are asked for")
        return rest

    def _joined(self, tail: Stream, successor: Stream) -> Stream:
        joined = successor.copy()
        joined[..., : self._fade_length] *= self._fade_in
        joined[..., : self._fade_length] += tail[..., : self._fade_length] * (1 - self._fade_in)
        return joined
