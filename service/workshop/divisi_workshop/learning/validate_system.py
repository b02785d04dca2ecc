"""How good a published system is on the singer it has never heard: pitches found, and SI-SDR of 1 s frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir
from divisi_workshop.learning.system_config import Part, SystemConfig
from divisi_workshop.learning.validate import EXCERPT_SECONDS, QUIETEST_ENERGY_PER_SECOND, cut_excerpts, si_sdr_db
from divisi_workshop.published.hcqt import Hcqt

FIRST_SECOND, LAST_SECOND = 3.984, 100.0
SHORT_SECONDS = 12.0
PEAK_THRESHOLD = 0.3
TOLERANCE_CENTS = 50.0


@dataclass(frozen=True)
class SystemScores:
    """Shares are of voiced frames, within 50 cents; SI-SDR in dB over 1 s frames in which the voice sings."""

    peak_recall: float
    """A peak of the mixture's salience lies at the true pitch."""
    voice_accuracy: float
    """The right voice was given the true pitch; of pairs and quartets."""
    si_sdr_db: float
    median_db: float
    per_voice_db: tuple[float, ...]


def first_second(choir: Choir) -> float:
    """The published evaluation skips the first excerpt of a song; the short parts of BC and BQ begin at 0.04 s."""
    return FIRST_SECOND if choir.seconds > SHORT_SECONDS else 0.04


@torch.no_grad()
def validate_system(network: Any, held: Sequence[Choir], config: SystemConfig) -> SystemScores:
    """Score a network on excerpts of choirs of single singers."""
    excerpts = [item for choir in held for item in cut_excerpts(choir, first_second(choir), LAST_SECOND, 256)]
    excerpts = excerpts[: config.held_excerpts]
    voice_total = len(held[0].parts)
    # A network for one voice at a time is run on as many as its heuristic hands out.
    voice_count = min(network.pitch.voice_count, voice_total)
    groups = list(combinations(range(voice_total), voice_count))
    separates = bool({Part.SEPARATOR, Part.UNET} & set(config.learns))
    recall: list[np.ndarray] = []
    right: list[np.ndarray] = []
    scores: list[tuple[int, float]] = []
    for number, item in enumerate(excerpts):
        # Pairs take turns, so that every pair is heard without separating each excerpt six times.
        group = list(groups[number % len(groups)])
        sources, f0_hz = item.sources[group], item.f0_hz[group]
        mixture = sources.sum(0)
        peak = max(float(np.abs(mixture).max()), 1e-9)
        sources, signal = sources / peak, torch.from_numpy(mixture / peak)[None]
        salience = network.pitch.multi_f0(signal)
        recall.append(peak_recall(network, salience, f0_hz))
        if config.learns == (Part.MULTI_F0,):
            continue
        found_hz = network.pitch.to_grid(network.pitch.assign(salience), signal.shape[1] // 256)[0].numpy()
        true_hz = f0_hz[:, : found_hz.shape[1]]
        right.append(is_near(found_hz, true_hz)[true_hz > 0])
        if separates:
            estimates = network(signal[:, None])[0][0, :, 0].numpy().astype(np.float64)
            scores += frame_scores(estimates, sources, group)
    values = [score for _, score in scores]
    return SystemScores(
        peak_recall=mean(np.concatenate(recall)),
        voice_accuracy=mean(np.concatenate(right) if right else []),
        si_sdr_db=mean(values),
        median_db=float(np.median(values)) if values else float("nan"),
        per_voice_db=tuple(mean([score for place, score in scores if place == voice]) for voice in range(voice_total)),
    )


def peak_recall(network: nn.Module, salience: Tensor, f0_hz: np.ndarray) -> np.ndarray:
    """Whether each voiced frame has a peak at its pitch. Shape: (1, 1, K, N), (V, N') -> (voiced,)."""
    hcqt = cast(Hcqt, network.get_submodule("pitch.multi_f0.hcqt"))
    values = salience[0, 0].numpy()
    middle = values[1:-1]
    is_peak = (middle > values[:-2]) & (middle >= values[2:]) & (middle >= PEAK_THRESHOLD)
    frequencies_hz = hcqt.frequencies_hz().numpy()[1:-1, None]
    seconds = np.arange(values.shape[1]) * hcqt.config.hop_length / hcqt.config.sample_rate
    frames = np.minimum(np.round(seconds * SAMPLE_RATE / 256).astype(int), f0_hz.shape[1] - 1)
    return np.concatenate([(is_peak & is_near(frequencies_hz, true)).any(0)[true > 0] for true in f0_hz[:, frames]])


def is_near(found_hz: np.ndarray, true_hz: np.ndarray) -> np.ndarray:
    """Within 50 cents. Any shapes that broadcast."""
    return 1200 * np.abs(np.log2(np.maximum(found_hz, 1.0) / np.maximum(true_hz, 1.0))) <= TOLERANCE_CENTS


def frame_scores(estimates: np.ndarray, sources: np.ndarray, voices: list[int]) -> list[tuple[int, float]]:
    """SI-SDR of every second in which a voice sings, with the voice's number. Shape: (V, T) twice."""
    scores = []
    for voice, estimate, source in zip(voices, estimates, sources, strict=True):
        for start in range(0, EXCERPT_SECONDS * SAMPLE_RATE, SAMPLE_RATE):
            reference = source[start : start + SAMPLE_RATE]
            if np.sum(reference**2) >= QUIETEST_ENERGY_PER_SECOND:
                scores.append((voice, si_sdr_db(estimate[start : start + SAMPLE_RATE], reference)))
    return scores


def mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
