"""Cuts a recording of any length into the segments that a network takes, and joins what it makes of them.

Samples are at the model's rate; each segment has real context at both ends:

    recording  |----------------------------------------------------------|  T samples
    segment 1  |======context|
    segment 2         |context======context|
    last segment                                      |context============|  moved back: it ends with the recording

Where a segment starts depends on the plan and on T alone, never on the blocks the samples came in.

Neighbours meet in the middle of their overlap, away from either's edge. Waveforms cross-fade, linearly: both estimate
the same source, so amplitudes (not powers) add up to one. Frames of pitch change over in the middle of that cross-fade:
a pitch between two neighbours' is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError

Stems = NDArray[np.float32]
"""float32 (S, C, T): stems, channels, samples."""
Tracks = NDArray[np.float32]
"""float32 (S, N): pitch of each stem in Hz, 0 where unvoiced; frame n stands for sample n * hop at the model's rate."""

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
            segments.append(self._segment(self._next_start, length))
            self._next_start += self._plan.step
        return segments

    def finish(self) -> list[Segment]:
        """The segment that brings the end of the recording, if no earlier one did."""
        length = self._plan.segment_length
        if length is None or self._next_start == 0:
            # A short recording is not stretched to a segment: silence would change what a network normalises by.
            padded_length = _round_up(self.num_samples, self._plan.length_multiple)
            return [self._segment(0, padded_length)] if padded_length else []
        if self._next_start - self._plan.step + length >= self.num_samples:
            return []
        return [self._segment(_round_up(self.num_samples - length, self._plan.grid), length)]

    def _segment(self, start: int, length: int) -> Segment:
        """The next segment; what lies before it is let go of."""
        self._held = self._held[:, start - self._held_start :]
        self._held_start = start
        samples = self._held[:, :length]
        num_real = samples.shape[1]
        return Segment(start, np.pad(samples, ((0, 0), (0, length - num_real))), num_real)


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
        # Of each output, samples from one element to the next, and what joins them.
        self._joins: dict[str, tuple[int, OverlapAdd]] = {}
        for name in card.output_names:
            if name in ("estimates", "resynthesis"):
                self._joins[name] = 1, OverlapAdd(plan.context_length, plan.fade_length)
            elif name in ("f0", "voicing"):
                frames_unused = (plan.context_length + plan.fade_length // 2) // plan.grid
                self._joins[name] = plan.grid, OverlapAdd(frames_unused, 0)

    def push(self, segment: Segment, outputs: Mapping[str, np.ndarray]) -> JoinedOutputs:
        """Takes the outputs of one segment, by their names in the card, without the axis B."""
        return JoinedOutputs(
            **{
                name: join.push(segment.start // hop, outputs[name][..., : -(-segment.num_real // hop)])
                for name, (hop, join) in self._joins.items()
            }
        )

    def finish(self, num_samples: int) -> JoinedOutputs:
        """The rest of a recording of `num_samples`, at least 1."""
        return JoinedOutputs(**{name: join.finish(-(-num_samples // hop)) for name, (hop, join) in self._joins.items()})


class OverlapAdd:
    """Takes segments in order, gives what no later segment can change; holds less than one segment.

    Works along the last axis, on samples and on frames alike.

    Args:
        context_length: elements at the end of each segment, and at the start of its successor, that are not used.
        fade_length: elements before that over which a segment gives way to its successor.
    """

    def __init__(self, context_length: int, fade_length: int) -> None:
        self._margin = context_length + fade_length
        # Symmetric and never 0 or 1: each element hears both neighbours.
        self._fade_in = ((np.arange(fade_length) + 0.5) / max(fade_length, 1)).astype(np.float32)
        self._tail: NDArray[np.float32] | None = None
        self._tail_start = 0

    def push(self, start: int, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes one segment.

        Args:
            start: place of its first element in the whole; 0 for the first, then rising.
            segment: float32 (..., L). Unless it is the first, it reaches from its context before the place where its
                predecessor begins to fade, to beyond its predecessor's end.

        Returns:
            float32 (..., n): the elements that follow those given before; n may be 0.
        """
        if self._tail is None:
            stream, self._tail_start = segment, start
        else:
            stream, fade_length = segment[..., self._tail_start - start :].copy(), len(self._fade_in)
            stream[..., :fade_length] *= self._fade_in
            stream[..., :fade_length] += self._tail[..., :fade_length] * (1 - self._fade_in)
        ready = max(stream.shape[-1] - self._margin, 0)
        self._tail, self._tail_start = stream[..., ready:].copy(), self._tail_start + ready
        return stream[..., :ready]

    def finish(self, length: int) -> NDArray[np.float32]:
        """The rest of a whole of `length` elements: the last segment up to its very end."""
        if self._tail is None:
            raise ValueError("there was no segment to finish")
        rest = self._tail[..., : length - self._tail_start]
        if rest.shape[-1] != length - self._tail_start:
            raise ValueError(f"the segments end at {self._tail_start + rest.shape[-1]}, {length} are asked for")
        return rest


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
