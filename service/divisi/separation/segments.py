"""Cuts a recording of any length into the segments that a network takes, each with real context at both ends.

First half of the Separator's work; `overlap_add` joins what the network makes of them. Samples are at the model's rate.

    recording  |----------------------------------------------------------|  T samples
    segment 1  |======context|
    segment 2         |context======context|
    last segment                                      |context============|  moved back: it ends with the recording

Where a segment starts depends on the plan and on T alone, never on the blocks the samples came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from divisi.audio.recording import Samples
from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError

# Long enough to hide that two neighbours disagree, short enough not to smear an onset over both.
_FADE_SECONDS = 0.05


@dataclass(frozen=True)
class SegmentPlan:
    """How recordings are cut for one model; lengths in samples at the model's rate.

    Attributes:
        segment_length: samples given to the network at a time; None: the recording in one piece.
        context_length: samples at each end of a segment whose estimates are not used, unless the recording ends there.
        fade_length: samples over which two neighbours are cross-faded.
        length_multiple: the network takes multiples of this many samples.
        grid: segments start at multiples of this many samples, so that frames of neighbours fall together.
    """

    segment_length: int | None
    context_length: int
    fade_length: int
    length_multiple: int = 1
    grid: int = 1

    @classmethod
    def from_card(cls, card: ModelCard) -> Self:
        """The plan that the card asks for.

        Raises:
            ModelError: code `wrong-segment`: the frames of an extra output do not fit into the card's segments.
        """
        grid = next((output.hop_length for output in card.extra_outputs if output.hop_length), 1)
        if card.length_multiple % grid:
            message = f"{card.id}: length_multiple {card.length_multiple} is not a multiple of the hop, {grid} samples"
            raise ModelError(message, code="wrong-segment")
        if card.segment_length == "whole":
            return cls(None, 0, 0, card.length_multiple, grid)
        inner_length = card.segment_length - 2 * card.context_length
        if inner_length < 2 * grid:
            message = f"{card.id}: {inner_length} samples between contexts do not hold two frames of {grid} samples"
            raise ModelError(message, code="wrong-segment")
        fade_length = min(round(_FADE_SECONDS * card.sample_rate), inner_length // 2)
        step = (inner_length - fade_length) // grid * grid
        return cls(card.segment_length, card.context_length, inner_length - step, card.length_multiple, grid)

    @property
    def step(self) -> int:
        """Samples from the start of one segment to that of the next; a whole recording has none."""
        if self.segment_length is None:
            raise ValueError("a plan of one whole segment has no step")
        return self.segment_length - 2 * self.context_length - self.fade_length


@dataclass(frozen=True)
class Segment:
    """A stretch of the recording for the network.

    Attributes:
        start: place of its first sample in the recording.
        samples: float32 (C, L).
        num_real: samples of the recording in it; zeros follow where it reaches beyond the end.
    """

    start: int
    samples: Samples
    num_real: int


class Segmenter:
    """Takes blocks, gives the segments that have become complete; holds one segment and one block."""

    def __init__(self, plan: SegmentPlan, num_channels: int) -> None:
        self._plan = plan
        self._held = np.zeros((num_channels, 0), np.float32)
        self._held_start = 0
        self._next_start = 0

    @property
    def num_samples(self) -> int:
        """Samples taken so far, of each channel."""
        return self._held_start + self._held.shape[1]

    def push(self, block: Samples) -> list[Segment]:
        """Takes float32 (C, n), n ≥ 0."""
        self._held = np.concatenate([self._held, block], axis=1)
        segments = []
        length = self._plan.segment_length
        while length is not None and self._next_start + length <= self.num_samples:
            self._drop_before(self._next_start)
            segments.append(Segment(self._next_start, self._held[:, :length].copy(), length))
            self._next_start += self._plan.step
        return segments

    def finish(self) -> list[Segment]:
        """The segment that brings the end of the recording, if no earlier one did."""
        length = self._plan.segment_length
        if length is None or self._next_start == 0:
            return [self._padded_to_multiple()] if self.num_samples else []
        last_start = self._next_start - self._plan.step
        if last_start + length >= self.num_samples:
            return []
        start = _round_up(self.num_samples - length, self._plan.grid)
        self._drop_before(start)
        return [self._padded(start, length)]

    def _padded_to_multiple(self) -> Segment:
        """A short recording is not stretched to a segment: silence would change what a network normalises by."""
        return self._padded(0, _round_up(self.num_samples, self._plan.length_multiple))

    def _padded(self, start: int, length: int) -> Segment:
        num_real = self._held.shape[1]
        return Segment(start, np.pad(self._held, ((0, 0), (0, length - num_real))), num_real)

    def _drop_before(self, start: int) -> None:
        self._held = self._held[:, start - self._held_start :]
        self._held_start = start


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
