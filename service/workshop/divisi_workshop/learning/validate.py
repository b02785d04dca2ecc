"""How good a checkpoint is on a singer it has never heard: SI-SDR of whole excerpts, and pitch accuracy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir, excerpt
from divisi_workshop.learning.losses import hold, masked
from divisi_workshop.networks.chorus import Chorus, build, whole

EXCERPT_SECONDS = 4
QUIETEST_ENERGY_PER_SECOND = 10.0
"""Sum of squares of a peak-normalised mixture; below it a voice is silent and its ratio says nothing."""
PITCH_TOLERANCE_CENTS = 50.0


@dataclass(frozen=True)
class Excerpt:
    """Mixture (T,) at peak 1, its sources (4, T) and tracks (4, N)."""

    mixture: np.ndarray
    sources: np.ndarray
    f0_hz: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Means over all excerpts and voices that sing. `per_voice_db` is in score order."""

    si_sdr_db: float
    mixture_db: float
    per_voice_db: tuple[float, ...]
    pitch_accuracy: float
    """Share of voiced frames found within 50 cents, by the right voice."""
    silence_accuracy: float
    """Share of unvoiced frames found unvoiced."""


def cut_excerpts(choir: Choir, first_second: float, last_second: float, hop_length: int) -> list[Excerpt]:
    """Consecutive 4 s excerpts of the first singer of every voice; a last partial one is dropped."""
    excerpts = []
    start = first_second
    while start + EXCERPT_SECONDS <= min(last_second, choir.seconds) + 1e-6:
        pairs = [excerpt(voice[0], start, 0.0, EXCERPT_SECONDS * SAMPLE_RATE, hop_length) for voice in choir.parts]
        sources = np.stack([samples for samples, _ in pairs])
        mixture = sources.sum(0)
        peak = max(float(np.abs(mixture).max()), 1e-9)
        excerpts.append(Excerpt(mixture / peak, sources / peak, np.stack([track for _, track in pairs])))
        start += EXCERPT_SECONDS
    return excerpts


def si_sdr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio without mean removal (Le Roux et al., 2019). Shape: (T,), (T,)."""
    target = np.dot(estimate, reference) / np.dot(reference, reference) * reference
    return float(10 * np.log10(np.sum(target**2) / (np.sum((target - estimate) ** 2) + 1e-12) + 1e-8))


@torch.no_grad()
def validate(network: Chorus, excerpts: list[Excerpt], true_pitch: bool = False) -> Scores:
    """Score a network on excerpts; with `true_pitch` the masks get the labels instead of the tracker's word."""
    was_training = network.training
    network.eval()
    scores: list[tuple[int, float, float]] = []
    found: list[np.ndarray] = []
    quiet: list[np.ndarray] = []
    for item in excerpts:
        mixture = torch.from_numpy(item.mixture)[None, None]
        estimates, f0_hz, *_ = network(mixture, torch.ones(1, len(item.sources)))
        if true_pitch:
            estimates = with_true_pitch(network, mixture, item.f0_hz)
        for voice, reference in enumerate(item.sources):
            if np.sum(reference**2) < QUIETEST_ENERGY_PER_SECOND * EXCERPT_SECONDS:
                continue
            estimate = estimates[0, voice, 0].numpy().astype(np.float64)
            scores.append((voice, si_sdr_db(estimate, reference), si_sdr_db(item.mixture, reference)))
        tracked = f0_hz[0].numpy()
        voiced = item.f0_hz > 0
        cents = 1200 * np.abs(np.log2(np.maximum(tracked, 1.0) / np.maximum(item.f0_hz, 1.0)))
        found.append(cents[voiced] < PITCH_TOLERANCE_CENTS)
        quiet.append(tracked[~voiced] == 0)
    network.train(was_training)
    return Scores(
        si_sdr_db=float(np.mean([score for _, score, _ in scores])),
        mixture_db=float(np.mean([mixture for _, _, mixture in scores])),
        per_voice_db=tuple(float(np.mean([s for v, s, _ in scores if v == voice] or [np.nan])) for voice in range(4)),
        pitch_accuracy=float(np.mean(np.concatenate(found))),
        silence_accuracy=float(np.mean(np.concatenate(quiet) if any(map(len, quiet)) else np.nan)),
    )


def with_true_pitch(network: Chorus, mixture: Tensor, f0_hz: np.ndarray) -> Tensor:
    """Estimates from labels in place of the tracker's word. Shape: (1, 1, T), (4, N) -> (1, 4, 1, T)."""
    signal = mixture[:, 0] / mixture.square().mean().sqrt()
    real, imag, wide, narrow = network.spectra(signal)
    held = torch.from_numpy(hold(f0_hz[None]).astype(np.float32))
    voicing = torch.from_numpy((f0_hz[None] > 0).astype(np.float32))
    roster = torch.ones(1, len(f0_hz))
    _, partials, masks, rest = network.split(signal, (real, imag), wide, narrow, held, voicing, roster)
    shares = masked(masks, rest)
    spectra = [whole(own, share.shape[2])[0] + share[0] for own, share in zip(partials, shares, strict=True)]
    waves = network.fourier.synthesise(*spectra)
    return waves[None, :, None]


def load_network(checkpoint: Path) -> Chorus:
    """The averaged network of a checkpoint, ready to run."""
    state = torch.load(checkpoint, weights_only=True)
    network = build(state["config"]["network"])
    assert isinstance(network, Chorus)
    network.load_state_dict(state["average"], strict=False)
    return network.eval()
