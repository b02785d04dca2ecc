"""Who sings in a recording: `voices=auto`. The model separates some stretches as if all might sing.

An absent voice is not quite silent then: it takes some partials of the others, now here, now there, and doubles their
notes. So a voice counts by its share of the sound, by how often it has a note that no other voice has, and by how sure
the model itself is that it sings. Then the model separates the same stretches with the roster of those detected: a
voice that was detected by mistake has less left, since the others take more. Whoever is in doubt is struck from the
roster, the most doubtful first, until all that remain convince.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.contract.card import ModelCard
from divisi.models.engine import Engine
from divisi.separation.full_band import ModelInput
from divisi.separation.segments import Segment, SegmentPlan
from divisi.separation.survey import Survey

MOST_SEGMENTS = 8
"""Stretches that are separated, evenly spread over all that are no pauses; of many no fewer than half as many."""
ACCOMPANIED_SEGMENTS = 4
"""Likewise, where the question is only whether anything accompanies the voices."""
WHOLE_SECONDS = 8.0
"""Length of a stretch for models that take a recording in one piece."""
QUIETEST_SEGMENT = 1e-4
"""Energy relative to where the recording is loud (-40 dB): a stretch with less is a pause and says nothing."""
SAME_NOTE_OCTAVES = 0.06
"""Voices nearer to each other, 72 cents, are on one note."""
QUIETEST_SHARE = 1e-5
"""Of the energy (-50 dB): with less, a voice is as good as silent."""
SUNG_SHARE = 0.3
"""Of the stretches, in which a voice that sings is expected to show: a few where it is plain outweigh its rests."""


@dataclass(frozen=True)
class Weights:
    """How the log odds that a voice sings in a stretch follow from the evidence: so much for every dB of its share of
    the energy, for the share of frames in which it has a note of its own, for the log odds that the model gives, and a
    constant.
    """

    by_decibel: float
    by_note: float
    by_presence: float
    constant: float


# Logistic regressions over singers 1 to 3 of each part and synthetic choirs, in all fifteen sets: docs/flagship.md.
OF_FULL_ROSTER = Weights(0.069, 1.75, 0.75, -0.14)
OF_SMALLER_ROSTER = Weights(0.083, 2.26, 0.66, -0.30)
BY_LOUDNESS = Weights(0.5, 0.0, 0.0, 8.5)
"""For models that give no pitch or no presence: -17 dB are even odds."""


@dataclass(frozen=True)
class Evidence:
    """What K stretches show.

    Attributes:
        energies: float64 (K, S), of each voice's estimate, full scale squared times samples.
        own_note_shares: float64 (K, S), frames in which the voice has a note that no other has, among those in which
            anybody has a pitch; 0 when the model gives no pitch.
        presence: float64 (K, S), the model's own log odds; 0 when it gives none.
    """

    energies: NDArray[np.float64]
    own_note_shares: NDArray[np.float64]
    presence: NDArray[np.float64]

    def of(self, stretches: NDArray[np.intp]) -> Evidence:
        """What some of the stretches show."""
        return Evidence(self.energies[stretches], self.own_note_shares[stretches], self.presence[stretches])

    def features(self) -> NDArray[np.float64]:
        """What `Weights` weigh: share of energy in dB, share of frames with a note of its own, the model's log odds.
        Shape: (K, S, 3).
        """
        total = np.maximum(self.energies.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        decibels = 10 * np.log10(np.maximum(self.energies / total, QUIETEST_SHARE))
        return np.stack([decibels, self.own_note_shares, self.presence], axis=-1)

    def log_odds(self, weights: Weights) -> NDArray[np.float64]:
        """That a voice sings in a stretch. Shape: (K, S)."""
        slopes = np.array([weights.by_decibel, weights.by_note, weights.by_presence])
        odds: NDArray[np.float64] = self.features() @ slopes + weights.constant
        return odds


def detect_roster(engine: Engine, card: ModelCard, segments: Sequence[Segment]) -> list[int]:
    """Places on axis S of the voices that sing, in order; may be none.

    Separates the segments once with a roster of all, and again with every roster that it tries, at most S - 2 more.
    Raises ModelError when the engine fails.
    """
    says_enough = {"f0", "presence"} <= set(card.output_names)
    of_full, of_smaller = (OF_FULL_ROSTER, OF_SMALLER_ROSTER) if says_enough else (BY_LOUDNESS, BY_LOUDNESS)
    evidence = gather_evidence(engine, card, segments, range(len(card.voices)))
    totals = evidence.energies.sum(axis=1)
    sounding = np.flatnonzero(totals > QUIETEST_SEGMENT * totals.max(initial=0))
    if not len(sounding):
        return []
    evidence, segments = evidence.of(sounding), [segments[int(place)] for place in sounding]
    roster: list[int] = np.flatnonzero(join(evidence.log_odds(of_full)) > 0).tolist()
    while len(roster) > 1:
        if len(roster) < len(card.voices):
            evidence = gather_evidence(engine, card, segments, roster)
        convinces = join(evidence.log_odds(of_smaller))[roster]
        if convinces.min() > 0:
            break
        del roster[int(convinces.argmin())]
    return roster


def detect_accompaniment(engine: Engine, card: ModelCard, segments: Sequence[Segment]) -> bool:
    """Whether anything accompanies the voices: more likely than not by all segments together.

    Separates each segment once. Raises ModelError when the engine fails.
    """
    odds = [engine.run(segment.samples[None])["presence"][0, -1:] for segment in segments]
    return bool(odds) and bool(join(np.array(odds, np.float64))[0] > 0)


def spread_segments(
    blocks: Iterable[Samples], card: ModelCard, plan: SegmentPlan, survey: Survey, most: int = MOST_SEGMENTS
) -> list[Segment]:
    """At most so many of the segments that the model will be given, evenly spread over all that are no pauses; memory
    stays flat.

    How many there are shows at the end. So every segment is kept at first, and whenever there are too many, every other
    one is dropped and, from then on, skipped.
    """
    if plan.segment_length is None:
        length = -(-round(WHOLE_SECONDS * card.sample_rate) // plan.length_multiple) * plan.length_multiple
        plan = SegmentPlan(length, 0, 0, plan.length_multiple, plan.grid)
    model_input = ModelInput(card, plan, survey.sample_rate, survey.num_channels, survey)

    def segments() -> Iterator[Segment]:
        for block in blocks:
            yield from model_input.push(block)
        yield from model_input.push(np.zeros((survey.num_channels, 0), np.float32), is_last=True)

    kept: list[Segment] = []
    num_segments, stride = 0, 1
    for segment in segments():
        power = np.square(segment.samples[:, : segment.num_real], dtype=np.float64).mean()
        if power <= QUIETEST_SEGMENT * survey.loud_power:
            continue
        if num_segments % stride == 0:
            kept.append(segment)
        num_segments += 1
        if len(kept) > most:
            del kept[1::2]
            stride *= 2
    return kept


def gather_evidence(engine: Engine, card: ModelCard, segments: Sequence[Segment], roster: Sequence[int]) -> Evidence:
    """Separates each segment with a roster. Raises ModelError when the engine fails."""
    num_voices = len(card.voices)
    energies, shares, presence = np.zeros((3, len(segments), num_voices))
    is_listed = None
    if len(roster) < num_voices:
        is_listed = np.zeros((1, len(card.stems)), np.float32)
        is_listed[:, roster] = 1
        is_listed[:, num_voices:] = 1
    for number, segment in enumerate(segments):
        outputs = engine.run(segment.samples[None], is_listed)
        estimates = outputs["estimates"][0, :num_voices, :, : segment.num_real]
        energies[number] = np.square(estimates, dtype=np.float64).sum(axis=(1, 2))
        if card.hop_length is not None:
            shares[number] = share_notes(outputs["f0"][0, :num_voices, : -(-segment.num_real // card.hop_length)])
        if "presence" in outputs:
            presence[number] = outputs["presence"][0, :num_voices]
    return Evidence(energies, shares, presence)


def share_notes(f0_hz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the frames in which anybody has a pitch, those in which each voice has a note of its own. (S, N) -> (S,)."""
    has_pitch = f0_hz > 0
    octaves = np.log2(np.where(has_pitch, f0_hz, 1.0))
    is_near = np.abs(octaves[:, None] - octaves) < SAME_NOTE_OCTAVES
    # Everybody is near to themselves.
    is_shared = (is_near & has_pitch[:, None] & has_pitch).sum(axis=1) > 1
    shares: NDArray[np.float64] = (has_pitch & ~is_shared).sum(axis=1) / max(int(has_pitch.any(axis=0).sum()), 1)
    return shares


def join(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """What K stretches say together: the log odds of a voice that sings in `SUNG_SHARE` of them against one that never
    does. Shape: (K, S) -> (S,).
    """
    joined: NDArray[np.float64] = np.logaddexp(np.log1p(-SUNG_SHARE), np.log(SUNG_SHARE) + log_odds).sum(axis=0)
    return joined
