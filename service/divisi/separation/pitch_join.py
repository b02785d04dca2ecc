"""Joins the pitch tracks of segments into one per stem: as `overlap_add`, in frames, and without a fade.

A pitch between two neighbours' is nobody's, so a track changes from one to the next in the middle of their cross-fade.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.separation.overlap_add import OverlapAdd
from divisi.separation.segments import Segment, SegmentPlan

Tracks = NDArray[np.float32]
"""float32 (S, N): pitch of each stem in Hz, 0 where unvoiced; frame n stands for sample n * hop at the model's rate."""


class PitchJoin:
    """Takes the tracks of segments in order, gives what no later segment can change."""

    def __init__(self, plan: SegmentPlan) -> None:
        self._hop_length = plan.grid
        self._join = OverlapAdd((plan.context_length + plan.fade_length // 2) // plan.grid, 0)

    def push(self, segment: Segment, tracks: Tracks) -> Tracks:
        """Takes float32 (S, N) of the segment; gives the frames that follow those given before."""
        num_frames = -(-segment.num_real // self._hop_length)
        return self._join.push(segment.start // self._hop_length, tracks[:, :num_frames])

    def finish(self, num_samples: int) -> Tracks:
        """The remaining frames of a recording of `num_samples` at the model's rate."""
        return self._join.finish(-(-num_samples // self._hop_length))
