"""Scores opened models on a data set, through the Separator that serves them; `divisi evaluate` calls it.

Beside the models stand two bounds: the mixture taken as every estimate, and the oracle ratio mask.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import istft, stft

from divisi.audio.recording import Samples
from divisi.contract.card import AUTO
from divisi.models.plan import Voices, check_voices
from divisi.separation.separator import OnProgress, SeparationOptions, Separator
from divisi.separation.survey import survey
from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE, Excerpt
from divisi_workshop.evaluation.datasets import Dataset, Score, score

MIXTURE = "mixture"
ORACLE = "oracle ratio mask"
_FRAMES = {"nperseg": 2048, "noverlap": 2048 - 256}


@dataclass(frozen=True)
class SystemScores:
    """How one system did.

    Attributes:
        system: `<model id> <version>`, or MIXTURE or ORACLE.
        scores: of all frames and excerpts.
        real_time_factor: seconds of computing for one second of audio; None for the bounds.
    """

    system: str
    scores: tuple[Score, ...]
    real_time_factor: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """All systems on one data set.

    Attributes:
        dataset: its name.
        voices: in score order.
        is_whole: True when the recording was separated in one go, False when excerpt by excerpt.
        systems: mixture, models in the order asked for, oracle.
    """

    dataset: str
    voices: tuple[str, ...]
    is_whole: bool
    systems: tuple[SystemScores, ...]


def evaluate(
    separators: Sequence[Separator],
    dataset: Dataset,
    *,
    whole: bool = False,
    voices: Voices = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Separates and scores.

    Args:
        separators: one per model; each must have a stem for every voice of the data set.
        dataset: what to separate.
        whole: separate the recording in one go, as users do, and cut the stems afterwards. Otherwise each excerpt is
            separated by itself, at peak 1, as the published figures were made.
        voices: who the models are told sings, by name or `auto`; None: nothing is told.
        on_progress: called with rising numbers in 0..1.

    Raises:
        InputError: `unknown-stem`, a model lacks a voice; `unknown-voice` or `voices-not-supported`, it cannot be told.
        ModelError: the model failed.
    """
    for separator in separators:
        SeparationOptions(stems=dataset.voices).indices(separator.card.stems)
        check_voices(voices, separator.card)
    excerpts = dataset.excerpts()
    mixtures = (np.broadcast_to(excerpt.mixture, excerpt.sources.shape) for excerpt in excerpts)
    oracle = (ratio_masked(excerpt.mixture, excerpt.sources) for excerpt in excerpts)
    systems = [SystemScores(MIXTURE, score(dataset, excerpts, mixtures))]
    for number, separator in enumerate(separators):
        advance = _part_of(on_progress, number, len(separators))
        began = time.monotonic()
        if whole:
            estimates = _separate_whole(separator, dataset, excerpts, voices, advance)
            num_samples = dataset.sources.shape[1]
        else:
            estimates = list(_separate_each(separator, dataset, excerpts, voices, advance))
            num_samples = len(excerpts) * EXCERPT_LENGTH
        real_time_factor = (time.monotonic() - began) * SAMPLE_RATE / max(num_samples, 1)
        name = f"{separator.card.id} {separator.card.version}"
        systems.append(SystemScores(name, score(dataset, excerpts, estimates), real_time_factor))
    systems.append(SystemScores(ORACLE, score(dataset, excerpts, oracle)))
    return Evaluation(dataset.name, dataset.voices, whole, tuple(systems))


def _separate_each(
    separator: Separator, dataset: Dataset, excerpts: Sequence[Excerpt], voices: Voices, on_progress: OnProgress
) -> Iterator[Samples]:
    for number, excerpt in enumerate(excerpts):
        yield _separate(separator, dataset, excerpt.mixture, voices, _part_of(on_progress, number, len(excerpts)))


def _separate_whole(
    separator: Separator, dataset: Dataset, excerpts: Sequence[Excerpt], voices: Voices, on_progress: OnProgress
) -> list[Samples]:
    mixture = dataset.mixture
    stems = _separate(separator, dataset, mixture / (np.abs(mixture).max() or np.float32(1)), voices, on_progress)
    return [stems[:, excerpt.start : excerpt.start + EXCERPT_LENGTH] for excerpt in excerpts]


def _separate(
    separator: Separator, dataset: Dataset, mixture: Samples, voices: Voices, on_progress: OnProgress
) -> Samples:
    """Stems of the data set's voices, in its order. Takes float32 (T,), gives float32 (V, T)."""
    surveyed = survey([mixture[None]], SAMPLE_RATE, 1)
    if voices == AUTO:
        voices = separator.detect_voices([mixture[None]], surveyed) or None
    is_accompanied = separator.detect_accompaniment([mixture[None]], surveyed)
    options = SeparationOptions(voices=voices, is_accompanied=is_accompanied)
    blocks = separator.separate([mixture[None]], SAMPLE_RATE, 1, surveyed, on_progress, options)
    stems = np.concatenate([block.stems[:, 0] for block in blocks], axis=-1)
    return stems[[separator.card.stems.index(voice) for voice in dataset.voices]]


def _part_of(on_progress: OnProgress | None, number: int, count: int) -> OnProgress:
    """Progress of one of several equal parts as progress of the whole."""

    def advance(done: float) -> None:
        if on_progress is not None:
            on_progress((number + done) / count)

    return advance


def ratio_masked(mixture: Samples, sources: Samples) -> Samples:
    """The mixture through masks |S_v| / (Σ|S| + 1e-12), with the mixture's phase: the ceiling of the published systems.

    They deliver through the same masks (Hann 2048, hop 256), made from their own estimates.

    Shape: float32 (T,), (V, T) -> (V, T).
    """
    magnitudes = np.abs(_spectrum(sources))
    masks = magnitudes / (magnitudes.sum(axis=0) + 1e-12)
    _, samples = istft(masks * _spectrum(mixture), **_FRAMES)
    return np.asarray(samples[:, : len(mixture)], np.float32)


def _spectrum(samples: Samples) -> NDArray[np.complex128]:
    """Centred, mirrored at both ends. Shape: (..., T) -> (..., F, N)."""
    return np.asarray(stft(samples.astype(np.float64), boundary="even", **_FRAMES)[2])
