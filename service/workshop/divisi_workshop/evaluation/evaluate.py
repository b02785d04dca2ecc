"""Scores opened models on a data set, through the Separator that serves them; `divisi evaluate` calls it.

Beside the models stand two bounds: the mixture taken as every estimate, and the oracle ratio mask.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples
from divisi.bundles.roster import Voices, check_voices
from divisi.contract.card import AUTO
from divisi.separation.options import SeparationOptions
from divisi.separation.separator import OnProgress, Separator
from divisi.separation.survey import survey
from divisi_workshop.evaluation.datasets import (
    EXCERPT_LENGTH,
    SAMPLE_RATE,
    Dataset,
    Excerpt,
    Score,
    cut_excerpts,
    score,
)

MIXTURE = "mixture"
ORACLE = "oracle ratio mask"


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
    excerpts = cut_excerpts(dataset)
    mixtures = (np.broadcast_to(excerpt.mixture, excerpt.sources.shape) for excerpt in excerpts)
    oracle = (ratio_masked(excerpt.mixture, excerpt.sources) for excerpt in excerpts)
    systems = [SystemScores(MIXTURE, score(dataset, excerpts, mixtures))]
    for number, separator in enumerate(separators):
        advance = _part_of(on_progress, number, len(separators))
        began = time.monotonic()
        if whole:
            estimates, num_samples = (
                _separate_whole(separator, dataset, excerpts, voices, advance),
                dataset.sources.shape[1],
            )
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
        voices = separator.hear_voices([mixture[None]], surveyed) or None
    options = SeparationOptions(voices=voices)
    blocks = separator.separate([mixture[None]], SAMPLE_RATE, 1, surveyed, on_progress, options)
    stems = np.concatenate([block.stems[:, 0] for block in blocks], axis=-1)
    return stems[[separator.card.stems.index(voice) for voice in dataset.voices]]


def _part_of(on_progress: OnProgress | None, number: int, count: int) -> OnProgress:
    """Progress of one of several equal parts as progress of the whole."""

    def advance(done: float) -> None:
        if on_progress is not None:
            on_progress((number + done) / count)

    return advance


WINDOW_LENGTH = 2048
HOP_LENGTH = 256
_TINY = 1e-12


def ratio_masked(mixture: Samples, sources: Samples) -> Samples:
    """The mixture through masks |S_v| / (Σ|S| + 1e-12), with the mixture's phase.

    Args:
        mixture: float32 (T,).
        sources: float32 (V, T).

    Returns:
        float32 (V, T).
    """
    magnitudes = np.abs(_spectrum(sources))
    masks = magnitudes / (magnitudes.sum(axis=0) + _TINY)
    return _samples(masks * _spectrum(mixture), mixture.shape[-1]).astype(np.float32)


def _window() -> NDArray[np.float64]:
    """Periodic Hann, float64 (WINDOW_LENGTH,)."""
    return np.hanning(WINDOW_LENGTH + 1)[:-1]


def _spectrum(samples: Samples) -> NDArray[np.complex128]:
    """Centred, mirrored at both ends. Takes (..., T), gives (..., N, F)."""
    edges = [(0, 0)] * (samples.ndim - 1) + [(WINDOW_LENGTH // 2, WINDOW_LENGTH // 2)]
    padded = np.pad(samples.astype(np.float64), edges, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_LENGTH, axis=-1)[..., ::HOP_LENGTH, :]
    return np.fft.rfft(frames * _window())


def _samples(spectrum: NDArray[np.complex128], num_samples: int) -> NDArray[np.float64]:
    """Inverse of `_spectrum`, least squares. Takes (..., N, F), gives (..., T)."""
    window = _window()
    frames = np.fft.irfft(spectrum, WINDOW_LENGTH) * window
    num_frames = frames.shape[-2]
    sums = np.zeros((*frames.shape[:-2], HOP_LENGTH * (num_frames - 1) + WINDOW_LENGTH))
    weights = np.zeros(sums.shape[-1])
    for number in range(num_frames):
        place = slice(number * HOP_LENGTH, number * HOP_LENGTH + WINDOW_LENGTH)
        sums[..., place] += frames[..., number, :]
        weights[place] += np.square(window)
    inside = slice(WINDOW_LENGTH // 2, WINDOW_LENGTH // 2 + num_samples)
    return np.asarray(sums[..., inside] / weights[inside])
