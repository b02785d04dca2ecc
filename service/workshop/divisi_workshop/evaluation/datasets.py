"""The recordings that models are scored on, and the published protocol: 4 s excerpts, each as a whole and in frames.

One true source per voice, mono, at 16 kHz; silence is left out.

`sample` comes with the package; the others are read from the user's folder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

import numpy as np

from divisi.audio.recording import Samples
from divisi.contract.errors import InputError, NotFoundError
from divisi.sample import SOURCES, source_path
from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE, VOICES, Excerpt, cut_excerpts, read_mono
from divisi_workshop.metrics import frame_si_sdr_db

PAIR = ("upper", "lower")
# Singer of each part that the published evaluation takes for Niño Dios.
_NINO_DIOS_SINGER = 4
# The published excerpts skip the first 4 s. Their starts were rounded down to steps of 16 ms in floating point, which
# puts each of them one step early: 3.984 s, 7.984 s, …
_NINO_DIOS_START = 4 * SAMPLE_RATE - 256
FRAME_LENGTH = SAMPLE_RATE


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

    def excerpts(self) -> list[Excerpt]:
        """All whole ones, in turn."""
        return cut_excerpts(self.sources, self.start)


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
    sources = [read_mono(path) for path in paths]
    shortest = min(map(len, sources))
    return np.stack([source[:shortest] for source in sources])


class Stretch(StrEnum):
    """What one score is of."""

    FRAME = "frame"
    EXCERPT = "excerpt"


@dataclass(frozen=True)
class Score:
    """SI-SDR of one voice over one stretch that begins at `start_seconds` of the recording."""

    stretch: Stretch
    start_seconds: float
    voice: str
    si_sdr_db: float


def score(dataset: Dataset, excerpts: Iterable[Excerpt], estimates: Iterable[Samples]) -> tuple[Score, ...]:
    """Scores of every voice that sings, in frames and as a whole.

    Args:
        dataset: which the excerpts are from.
        excerpts: as `Dataset.excerpts` gives them.
        estimates: for each excerpt float32 (V, T), voices in the data set's order; their level does not matter.
    """
    scores: list[Score] = []
    for excerpt, estimate in zip(excerpts, estimates, strict=True):
        for stretch, length in ((Stretch.FRAME, FRAME_LENGTH), (Stretch.EXCERPT, EXCERPT_LENGTH)):
            ratios = frame_si_sdr_db(estimate, excerpt.sources, length)
            for place, number in zip(*np.nonzero(~np.isnan(ratios)), strict=True):
                start_seconds = (excerpt.start + int(number) * length) / SAMPLE_RATE
                scores.append(Score(stretch, start_seconds, dataset.voices[place], float(ratios[place, number])))
    return tuple(scores)
