"""Joins all that a network says of overlapping segments: waveforms by cross-fades, frames of pitch by change-over.

Between engine and full band. See `segments` for how the segments were cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from divisi.audio.recording import Samples
from divisi.contract.card import ModelCard
from divisi.separation.full_band import Stems
from divisi.separation.overlap_add import OverlapAdd
from divisi.separation.pitch_join import PitchJoin, Tracks
from divisi.separation.segments import Segment, SegmentPlan


@dataclass(frozen=True)
class JoinedOutputs:
    """What follows of each output, at the model's rate; None for what the model does not give.

    Attributes:
        estimates: float32 (S, C, n).
        f0: float32 (S, N) in Hz, 0 where unvoiced.
        voicing: float32 (S, N), 0..1.
        resynthesis: float32 (C, n).
    """

    estimates: Stems
    f0: Tracks | None = None
    voicing: Tracks | None = None
    resynthesis: Samples | None = None


class OutputJoin:
    """Takes what the graph made of segments, in order; gives what no later segment can change."""

    def __init__(self, card: ModelCard, plan: SegmentPlan) -> None:
        self._waves: dict[str, OverlapAdd] = {}
        self._frames: dict[str, PitchJoin] = {}
        for name in card.output_names:
            if name in ("estimates", "resynthesis"):
                self._waves[name] = OverlapAdd(plan.context_length, plan.fade_length)
            elif name in ("f0", "voicing"):
                self._frames[name] = PitchJoin(plan)

    def push(self, segment: Segment, outputs: Mapping[str, np.ndarray]) -> JoinedOutputs:
        """Takes the outputs of one segment, by their names in the card, without the axis B."""
        waves = {
            name: join.push(segment.start, outputs[name][..., : segment.num_real]) for name, join in self._waves.items()
        }
        frames = {name: join.push(segment, outputs[name]) for name, join in self._frames.items()}
        return JoinedOutputs(**waves, **frames)

    def finish(self, num_samples: int) -> JoinedOutputs:
        """The rest of a recording of `num_samples`, at least 1."""
        return JoinedOutputs(
            **{name: join.finish(num_samples) for name, join in self._waves.items()},
            **{name: join.finish(num_samples) for name, join in self._frames.items()},
        )
