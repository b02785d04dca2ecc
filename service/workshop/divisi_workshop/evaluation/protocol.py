"""The published protocol: consecutive 4 s excerpts, each scored in frames of 1 s and as a whole, silence left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from divisi.audio.waveform import Samples
from divisi_workshop.evaluation.datasets import EXCERPT_LENGTH, SAMPLE_RATE, Dataset
from divisi_workshop.evaluation.metrics import si_sdr_db

FRAME_LENGTH = SAMPLE_RATE
# Sum of squares of one second, in a mixture of peak 1. Below it a voice is silent and its ratio says nothing.
QUIETEST_ENERGY = 10.0


class Stretch(StrEnum):
    """What one score is of."""

    FRAME = "frame"
    EXCERPT = "excerpt"


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a data set, scaled so that its mixture has peak 1.

    Attributes:
        start: its first sample in the recording.
        mixture: float32 (T,).
        sources: float32 (V, T).
    """

    start: int
    mixture: Samples
    sources: Samples


@dataclass(frozen=True)
class Score:
    """SI-SDR of one voice over one stretch that begins at `start_seconds` of the recording."""

    stretch: Stretch
    start_seconds: float
    voice: str
    si_sdr_db: float


def cut_excerpts(dataset: Dataset) -> list[Excerpt]:
    """All whole excerpts; the last, partial one is dropped."""
    num_samples = dataset.sources.shape[1]
    starts = range(dataset.start, num_samples - EXCERPT_LENGTH + 1, EXCERPT_LENGTH)
    return [_cut(dataset, start) for start in starts]


def score(dataset: Dataset, excerpts: Iterable[Excerpt], estimates: Iterable[Samples]) -> tuple[Score, ...]:
    """Scores of every voice that sings.

    Args:
        dataset: which the excerpts are from.
        excerpts: as `cut_excerpts` gives them.
        estimates: for each excerpt float32 (V, T), voices in the data set's order; their level does not matter.
    """
    scores: list[Score] = []
    for excerpt, estimate in zip(excerpts, estimates, strict=True):
        for stretch, length in ((Stretch.FRAME, FRAME_LENGTH), (Stretch.EXCERPT, EXCERPT_LENGTH)):
            scores.extend(_score_stretches(dataset.voices, excerpt, estimate, stretch, length))
    return tuple(scores)


def _cut(dataset: Dataset, start: int) -> Excerpt:
    sources = dataset.sources[:, start : start + EXCERPT_LENGTH]
    mixture = sources.sum(axis=0)
    peak = float(np.abs(mixture).max()) or 1.0
    return Excerpt(start, mixture / np.float32(peak), sources / np.float32(peak))


def _score_stretches(
    voices: tuple[str, ...], excerpt: Excerpt, estimate: Samples, stretch: Stretch, length: int
) -> Iterator[Score]:
    references = excerpt.sources.reshape(len(voices), -1, length)
    ratios = si_sdr_db(estimate.reshape(references.shape), references)
    energies = np.square(references, dtype=np.float64).sum(-1)
    for place, voice in enumerate(voices):
        for number in range(references.shape[1]):
            if energies[place, number] >= QUIETEST_ENERGY * length / SAMPLE_RATE:
                start_seconds = (excerpt.start + number * length) / SAMPLE_RATE
                yield Score(stretch, start_seconds, voice, float(ratios[place, number]))
