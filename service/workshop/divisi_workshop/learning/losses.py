"""What is minimised: wrong pitches, wrong energy, and wrong magnitudes where the ear hears them."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from divisi_workshop.networks.pitch_tracker import BINS_PER_OCTAVE, LOWEST_PITCH_HZ, PITCH_COUNT

SOFT_THRESHOLD = 1e-3
"""30 dB: beyond it, a clean estimate is not worth more."""
TARGET_WIDTH_BINS = 0.6
LEAST_SUNG_SHARE = 0.1
"""Of the frames: a voice that sings in fewer, but not in none, neither counts as present nor as absent."""


def pitch_targets(f0_hz: Tensor) -> Tensor:
    """Blurred classes of true pitches. Shape: (B, 4, N) in Hz, 0 = unvoiced -> (B, 4, PITCH_COUNT + 1, N)."""
    voiced = f0_hz > 0
    position = BINS_PER_OCTAVE * torch.log2(f0_hz.clamp(min=1.0) / LOWEST_PITCH_HZ)
    position = position.clamp(0, PITCH_COUNT - 1)
    bins = torch.arange(PITCH_COUNT, dtype=f0_hz.dtype)[:, None]
    blurred = torch.exp(-0.5 * ((bins - position[:, :, None]) / TARGET_WIDTH_BINS).square())
    blurred = blurred / blurred.sum(2, keepdim=True) * voiced[:, :, None]
    return torch.cat([blurred, (~voiced)[:, :, None].to(f0_hz.dtype)], dim=2)


def pitch_loss(logits: Tensor, f0_hz: Tensor) -> Tensor:
    """Cross entropy per voice and frame. Shape: (B, 4, PITCH_COUNT + 1, N), (B, 4, N) -> scalar."""
    return -(pitch_targets(f0_hz) * torch.log_softmax(logits, dim=2)).sum(2).mean()


def presence_loss(log_odds: Tensor, f0_hz: Tensor, roster: Tensor) -> Tensor:
    """Cross entropy of who sings in the excerpt, among voices of the roster. Shape: (B, 4), (B, 4, N), (B, 4)."""
    share = (f0_hz > 0).to(log_odds.dtype).mean(dim=2)
    counts = roster * ((share == 0) | (share >= LEAST_SUNG_SHARE))
    wrong = functional.binary_cross_entropy_with_logits(log_odds, (share > 0).to(log_odds.dtype), reduction="none")
    return (wrong * counts).sum() / counts.sum().clamp(min=1)


Spectrum = tuple[Tensor, Tensor]
"""Real and imaginary parts: (B, F, N) of a mixture, (B, 4, F, N) of voices."""


def masked(masks: Tensor, mixture: Spectrum) -> Spectrum:
    """Shares of a mixture. Shape: (B, 4, F, N), (B, F, N) -> (B, 4, F, N)."""
    return masks * mixture[0][:, None], masks * mixture[1][:, None]


def energy_loss(estimates: Spectrum, mixture: Spectrum, sources: Spectrum) -> Tensor:
    """Negative SNR in dB of complex spectra, softly bounded; a silent voice is measured against the mixture."""
    power = sources[0].square() + sources[1].square()
    error = (estimates[0] - sources[0]).square() + (estimates[1] - sources[1]).square()
    total = (mixture[0].square() + mixture[1].square()).sum((1, 2))[:, None]
    reference = power.sum((2, 3))
    present = reference > 1e-6 * total
    floor = SOFT_THRESHOLD * torch.where(present, reference, total)
    scale = torch.where(present, reference, total)
    return 10 * torch.log10((error.sum((2, 3)) + floor) / scale).mean()


def magnitude_loss(estimates: Spectrum, sources: Spectrum) -> Tensor:
    """Mean absolute error of magnitudes to the power 0.4, as loudness goes."""
    return (loudness(magnitude(*estimates)) - loudness(magnitude(*sources))).abs().mean()


def magnitude(real: Tensor, imag: Tensor) -> Tensor:
    return torch.sqrt(real.square() + imag.square() + 1e-12)


def loudness(values: Tensor) -> Tensor:
    return (values + 1e-3).pow(0.4)


def disturb(rng: np.random.Generator, f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True pitches with the errors of a tracker, for masks that learn before there is one: jitter, gaps, false alarms,
    octave slips and stretches of another voice's pitch.

    Shape: (B, 4, N), 0 = unvoiced -> F0 (B, 4, N) positive everywhere, and voicing (B, 4, N) in 0..1.
    """
    tracks = f0_hz.copy()
    batch, voices, frames = tracks.shape
    for example in range(batch):
        for voice in range(voices):
            if rng.random() < 0.15:
                stretch = random_stretch(rng, frames)
                kind = rng.random()
                if kind < 0.55:
                    tracks[example, voice, stretch] = f0_hz[example, rng.integers(voices), stretch]
                elif kind < 0.7:
                    tracks[example, voice, stretch] *= rng.choice([0.5, 2.0])
                elif kind < 0.85:
                    tracks[example, voice, stretch] = 0
                else:
                    tracks[example, voice, stretch] = 100 * 2 ** rng.uniform(0, 2.5)
    cents = rng.normal(0, 7, tracks.shape) + rng.normal(0, 5, (batch, voices, 1))
    voiced = tracks > 0
    flipped = rng.random(tracks.shape) < 0.01
    voicing = np.where(voiced ^ flipped, rng.uniform(0.75, 1, tracks.shape), rng.uniform(0, 0.15, tracks.shape))
    held = np.clip(hold(tracks), 62.0, 1150.0) * 2 ** (cents / 1200)
    return held.astype(np.float32), voicing.astype(np.float32)


def random_stretch(rng: np.random.Generator, frames: int) -> slice:
    """0.2 to 1.3 s somewhere in the excerpt."""
    length = int(rng.integers(6, 40))
    first = int(rng.integers(-length + 1, frames))
    return slice(max(first, 0), first + length)


def hold(tracks: np.ndarray) -> np.ndarray:
    """Carry the last pitch through unvoiced frames (the first one back to the beginning). Shape: (B, 4, N)."""
    frames = np.arange(tracks.shape[-1])
    index = np.where(tracks > 0, frames, -1)
    last = np.maximum.accumulate(index, axis=-1)
    first = np.argmax(tracks > 0, axis=-1)[..., None]
    held = np.take_along_axis(tracks, np.where(last < 0, first, last), axis=-1)
    return np.where(held > 0, held, 200.0)
