"""Who sings in a recording: `voices=auto`. The model separates some stretches as if all might; who is heard, sings.

An absent voice is not quite silent then: it takes some partials of the others, now here, now there. So a voice counts
only where it has a share of the sound and of the pitched time, and only when it does so in some of the stretches.
To take a voice for absent that sings would cost its whole stem; in doubt it sings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples
from divisi.bundles.card import ModelCard
from divisi.engines.engine import Engine
from divisi.separation.model_input import ModelInput
from divisi.separation.segments import Segment, SegmentPlan

MOST_SEGMENTS = 8
"""Stretches that are listened to, evenly spread over the recording; of a long one no fewer than half as many."""
WHOLE_SECONDS = 8.0
"""Length of a stretch for models that take a recording in one piece."""
HEARD_ENERGY_SHARE = 0.02
"""Of the energy of all estimates in a stretch (-17 dB): with less, a voice is not heard there."""
HEARD_VOICED_SHARE = 0.15
"""Of the frames of a stretch in which anybody has a pitch: with fewer, a voice is not heard there."""
HEARD_SEGMENT_SHARE = 0.15
"""Of the stretches: a voice that is heard in fewer does not sing. One is enough when there are few."""
QUIETEST_SEGMENT = 1e-4
"""Energy relative to the loudest stretch (-40 dB): a stretch with less is a pause and says nothing."""


@dataclass(frozen=True)
class Evidence:
    """What was heard of K stretches.

    Attributes:
        energies: float64 (K, S), of each voice's estimate, full scale squared times samples.
        voiced_shares: float64 (K, S), frames in which the voice has a pitch among those in which anybody has; None
            when the model gives no pitch, or found none.
    """

    energies: NDArray[np.float64]
    voiced_shares: NDArray[np.float64] | None


def spread_segments(
    blocks: Iterable[Samples], card: ModelCard, plan: SegmentPlan, sample_rate: int, num_channels: int
) -> list[Segment]:
    """At most `MOST_SEGMENTS` of the segments that the model will be given, evenly spread; memory stays flat.

    How long a recording is shows at its end. So every segment is kept at first, and whenever there are too many, every
    other one is dropped and, from then on, skipped.
    """
    if plan.segment_length is None:
        length = -(-round(WHOLE_SECONDS * card.sample_rate) // plan.length_multiple) * plan.length_multiple
        plan = SegmentPlan(length, 0, 0, plan.length_multiple, plan.grid)
    heard = ModelInput(card, plan, sample_rate, num_channels)
    kept: list[Segment] = []
    num_segments, stride = 0, 1

    def keep(segments: Iterable[Segment]) -> None:
        nonlocal num_segments, stride
        for segment in segments:
            if num_segments % stride == 0:
                kept.append(segment)
            num_segments += 1
            if len(kept) > MOST_SEGMENTS:
                del kept[1::2]
                stride *= 2

    for block in blocks:
        keep(heard.push(block))
    keep(heard.push(np.zeros((num_channels, 0), np.float32), is_last=True))
    return kept


def gather_evidence(engine: Engine, card: ModelCard, segments: Sequence[Segment]) -> Evidence:
    """Separates each segment with a roster of all voices. Raises ModelError when the engine fails."""
    num_stems = len(card.stems)
    energies = np.zeros((len(segments), num_stems))
    voiced = np.zeros((len(segments), num_stems))
    num_pitched = np.zeros((len(segments), 1))
    for number, segment in enumerate(segments):
        outputs = engine.run(segment.samples[None])
        estimates = outputs["estimates"][0, ..., : segment.num_real]
        energies[number] = np.square(estimates, dtype=np.float64).sum(axis=(1, 2))
        if card.hop_length is not None:
            has_pitch = outputs["f0"][0, :, : -(-segment.num_real // card.hop_length)] > 0
            voiced[number] = has_pitch.sum(axis=1)
            num_pitched[number] = has_pitch.any(axis=0).sum()
    return Evidence(energies, voiced / np.maximum(num_pitched, 1) if num_pitched.any() else None)


def voices_heard(evidence: Evidence) -> list[int]:
    """Places on axis S of the voices that sing, in order; all of them when nobody can be told from the others."""
    everybody = list(range(evidence.energies.shape[1]))
    totals = evidence.energies.sum(axis=1)
    sounds = totals > QUIETEST_SEGMENT * totals.max(initial=0)
    if not sounds.any():
        return everybody
    is_heard = evidence.energies[sounds] >= HEARD_ENERGY_SHARE * totals[sounds, None]
    if evidence.voiced_shares is not None:
        is_heard &= evidence.voiced_shares[sounds] >= HEARD_VOICED_SHARE
    fewest = math.ceil(HEARD_SEGMENT_SHARE * len(is_heard))
    return np.flatnonzero(is_heard.sum(axis=0) >= fewest).tolist() or everybody
