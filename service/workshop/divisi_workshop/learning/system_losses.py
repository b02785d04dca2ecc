"""Losses of the published systems: how alike two sounds are at six resolutions, and what saliences should look like."""

import torch
from torch import Tensor
from torch.nn import functional

SPECTRAL_SIZES = (2048, 1024, 512, 256, 128, 64)
LEAST_POWER = 1e-10
LEAST_MAGNITUDE = 1e-5
REGISTERS_HZ = ((258.6, 879.9), (189.3, 659.2), (145.1, 440.0), (90.4, 290.3))
"""Where soprano, alto, tenor and bass are expected to sing."""
BLUR_BINS = 1.0


def spectral_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of magnitudes and of their logarithms, summed over six windows. Shape: (R, T) twice."""
    total = torch.zeros((), device=estimate.device)
    for size in SPECTRAL_SIZES:
        found, wanted = magnitudes(estimate, size), magnitudes(target, size)
        total = total + (found - wanted).abs().mean() + (log_of(found) - log_of(wanted)).abs().mean()
    return total


def magnitudes(signal: Tensor, size: int) -> Tensor:
    """Frames of `size` every quarter of it, silence after the end. Shape: (R, T) -> (R, size / 2 + 1, N)."""
    hop_length = size // 4
    window = torch.hann_window(size, device=signal.device)
    padded = functional.pad(signal, (0, size - hop_length))
    spectrum = torch.stft(padded, size, hop_length, window=window, center=False, return_complex=True)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + LEAST_POWER)


def log_of(magnitude: Tensor) -> Tensor:
    return torch.log(magnitude + LEAST_MAGNITUDE * (magnitude <= 0))


def salience_loss(by_voice: Tensor, salience: Tensor) -> Tensor:
    """Together the voices should be the mixture's salience. Shape: (B, V, K, N), (B, 1, K, N)."""
    return functional.mse_loss(by_voice.sum(1, keepdim=True), salience.detach())


def register_loss(by_voice: Tensor, frequencies_hz: Tensor) -> Tensor:
    """Outside its register a voice should have no salience. Shape: (B, V, K, N), (K,)."""
    limits = torch.tensor(REGISTERS_HZ[: by_voice.shape[1]], device=by_voice.device)
    inside = (frequencies_hz >= limits[:, :1]) & (frequencies_hz <= limits[:, 1:])
    return functional.mse_loss(by_voice, (by_voice * inside[None, :, :, None]).detach())


def commitment_loss(by_voice: Tensor, one_hot: Tensor) -> Tensor:
    """A voice should be sure of the bin it has chosen. Shape: (B, V, K, N) twice."""
    return functional.mse_loss(by_voice, one_hot.detach())


def pitch_maps(f0_hz: Tensor, frequencies_hz: Tensor) -> Tensor:
    """True pitches as blurred ridges of height 1. Shape: (B, V, N) in Hz, 0 = silent; (K,) -> (B, V, K, N)."""
    octave = torch.log2(frequencies_hz[1] / frequencies_hz[0])
    position = torch.log2(f0_hz.clamp(min=1.0) / frequencies_hz[0]) / octave
    bins = torch.arange(len(frequencies_hz), dtype=f0_hz.dtype, device=f0_hz.device)[:, None]
    ridge = torch.exp(-0.5 * ((bins - position[:, :, None]) / BLUR_BINS).square())
    return ridge * (f0_hz > 0)[:, :, None]


def map_loss(salience: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy. Any shape, 0..1."""
    return functional.binary_cross_entropy(salience.clamp(1e-6, 1 - 1e-6), target)
