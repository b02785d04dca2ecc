"""The recordings that models are scored on: one true source per voice, mono, at the protocol's rate.

`sample` comes with the package; the others are read from the user's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.resample import resample
from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError, NotFoundError
from divisi.sample import SOURCES, source_path
from divisi_workshop.metrics import si_sdr_db

SAMPLE_RATE = 16_000
VOICES = ("soprano", "alto", "tenor", "bass")
PAIR = ("upper", "lower")
EXCERPT_LENGTH = 4 * SAMPLE_RATE
# Singer of each part that the published evaluation takes for Niño Dios.
_NINO_DIOS_SINGER = 4
# The published excerpts skip the first 4 s. Their starts were rounded down to steps of 16 ms in floating point, which
# puts each of them one step early: 3.984 s, 7.984 s, …
_NINO_DIOS_START = 4 * SAMPLE_RATE - 256
_BLOCK_LENGTH = 1 << 16


@dataclass(frozen=True)
class Dataset:
    """One recording with its true sources.

    Attributes:
        name: what it is, for tables and model cards.
        voices: V names, in score order.
        sources: float32 (V, T) at SAMPLE_RATE; their sum is the mixture.
        start: first sample of the first excerpt.
    """

    name: str
    voices: tuple[str, ...]
    sources: Samples
    start: int = 0

    @property
    def mixture(self) -> Samples:
        """float32 (T,), the plain sum."""
        return self.sources.sum(axis=0)


def load_dataset(name: str, data: Path | None = None) -> Dataset:
    """Reads a data set.

    Args:
        name: in `DATASETS`.
        data: the user's folder of data sets; `sample` needs none.

    Raises:
        NotFoundError: `unknown-dataset`.
        InputError: `missing-data`, or what decoding raises.
    """
    if name not in DATASETS:
        raise NotFoundError(f"there is no data set {name!r}; there are: {', '.join(DATASETS)}", code="unknown-dataset")
    return DATASETS[name](data)


def _load_sample(data: Path | None) -> Dataset:
    return Dataset("sample chorale, formant voices", SOURCES, read_in_sync([source_path(voice) for voice in SOURCES]))


def _load_nino_dios(data: Path | None) -> Dataset:
    if data is None:
        raise InputError("data set nino_dios is read from a folder; name the one that holds it", code="missing-data")
    paths = [data / "nino_dios" / f"{voice}_{_NINO_DIOS_SINGER}.flac" for voice in VOICES]
    name = f"Niño Dios, singer {_NINO_DIOS_SINGER} of each part"
    return Dataset(name, VOICES, read_in_sync(paths), _NINO_DIOS_START)


def _load_nino_dios_pairs(data: Path | None) -> Dataset:
    """What two voices sing: the whole excerpts of all six pairs of parts, one pair after the other, for two stems."""
    song = _load_nino_dios(data)
    num_samples = (song.sources.shape[1] - song.start) // EXCERPT_LENGTH * EXCERPT_LENGTH
    sung = song.sources[:, song.start : song.start + num_samples]
    pairs = [sung[list(pair)] for pair in combinations(range(len(song.voices)), len(PAIR))]
    return Dataset(f"{song.name}, all pairs", PAIR, np.concatenate(pairs, axis=1))


DATASETS: dict[str, Callable[[Path | None], Dataset]] = {
    "sample": _load_sample,
    "nino_dios": _load_nino_dios,
    "nino_dios_pairs": _load_nino_dios_pairs,
}


def read_in_sync(paths: list[Path]) -> Samples:
    """Recordings that begin together, cut to the shortest: float32 (V, T)."""
    sources = [_read(path) for path in paths]
    shortest = min(map(len, sources))
    return np.stack([source[:shortest] for source in sources])


def _read(path: Path) -> Samples:
    """Mean of the channels at SAMPLE_RATE: float32 (T,)."""
    if not path.is_file():
        raise InputError(f"{path} is missing", code="missing-data")
    with open_decoder(path) as decoder:
        samples = np.concatenate(list(decoder.blocks(_BLOCK_LENGTH)), axis=1)
        return resample(samples.mean(axis=0, keepdims=True), decoder.facts.sample_rate, SAMPLE_RATE)[0]


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
