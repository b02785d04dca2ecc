"""What the published systems learn from: the remixer's voices as quartets, pairs or alone, at peak 1."""

from dataclasses import dataclass

import numpy as np

from divisi_workshop.choirs.remix import Batch


@dataclass(frozen=True)
class Material:
    """Mixture (B, T) at peak 1, its sources (B, V, T) and their F0 (B, V, N) in Hz, float32, highest part first."""

    mixture: np.ndarray
    sources: np.ndarray
    f0_hz: np.ndarray


def choose_voices(batch: Batch, voice_count: int, rng: np.random.Generator) -> Material:
    """All four voices, or for each example a random pair or a random single one; noise stays out of small mixtures."""
    if voice_count == batch.sources.shape[1]:
        return at_peak(batch.mixture, batch.sources, batch.f0_hz)
    chosen = np.stack([pick(rng, sources, voice_count) for sources in batch.sources])
    sources = np.take_along_axis(batch.sources, chosen[:, :, None], 1)
    return at_peak(sources.sum(1), sources, np.take_along_axis(batch.f0_hz, chosen[:, :, None], 1))


def pick(rng: np.random.Generator, sources: np.ndarray, voice_count: int) -> np.ndarray:
    """Voices of one example (4, T), sounding ones first, in score order. Shape: (voice_count,)."""
    silent = np.abs(sources).max(1) == 0
    order = rng.permutation(len(sources))
    return np.sort(order[np.argsort(silent[order], kind="stable")][:voice_count])


def at_peak(mixture: np.ndarray, sources: np.ndarray, f0_hz: np.ndarray) -> Material:
    peak = np.maximum(np.abs(mixture).max(1), 1e-6).astype(np.float32)
    return Material(mixture / peak[:, None], sources / peak[:, None, None], f0_hz)
