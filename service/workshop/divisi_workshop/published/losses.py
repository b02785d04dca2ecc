"""Losses of the published systems: how alike two sounds are at six resolutions, and what saliences should look like."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.published import umss, unet
from divisi_workshop.published.config import Part, Pitch, SystemConfig

SPECTRAL_SIZES = (2048, 1024, 512, 256, 128, 64)
LEAST_POWER = 1e-10
REGISTERS_HZ = ((258.6, 879.9), (189.3, 659.2), (145.1, 440.0), (90.4, 290.3))
"""Where soprano, alto, tenor and bass are expected to sing."""
BLUR_BINS = 1.0
QUIETEST_VOICE = 0.05


@dataclass(frozen=True)
class Material:
    """Mixture (B, T) at peak 1, its sources (B, V, T) and their F0 (B, V, N) in Hz, float32, highest part first."""

    mixture: np.ndarray
    sources: np.ndarray
    f0_hz: np.ndarray


def batch_losses(network: nn.Module, material: Material, config: SystemConfig) -> dict[str, Tensor]:
    """Losses of one batch by name, weighted; what no loss needs is not computed."""
    mixture, sources, f0_hz = map(torch.from_numpy, (material.mixture, material.sources, material.f0_hz))
    f0_hz = f0_hz[:, :, : mixture.shape[1] // umss.HOP_LENGTH]
    reader: Any = network.pitch
    weights, values = config.weights, {}
    heard_hz = f0_hz
    if config.pitch is Pitch.NETWORK:
        learns_f0 = Part.MULTI_F0 in config.learns
        with torch.set_grad_enabled(learns_f0):
            spectra = reader.multi_f0.hcqt(mixture)
            with half_convolutions(config):
                salience = reader.multi_f0.salience(*spectra)
        salience = salience.float()
        frequencies_hz = reader.multi_f0.hcqt.frequencies_hz().float()
        targets = pitch_maps(at_frames(reader, f0_hz, salience.shape[3]), frequencies_hz)
        if weights.multi_f0:
            values["multi_f0"] = map_loss(salience, targets.amax(1, keepdim=True))
        if reader.assigner is not None and (set(config.learns) != {Part.MULTI_F0}):
            with half_convolutions(config):
                by_voice = reader.assigner(salience)
            by_voice = by_voice.float()
            values |= salience_losses(reader, by_voice, salience, targets, frequencies_hz, config)
            heard_hz = reader.to_grid(reader.link(by_voice), f0_hz.shape[2])
        elif not weights.multi_f0:
            heard_hz = reader.to_grid(reader.assign(salience), f0_hz.shape[2])
    if weights.reconstruction or weights.sources:
        separator: Any = network.separator
        voices = separator(mixture, heard_hz)
        if weights.reconstruction:
            values["reconstruction"] = spectral_loss(voices.sum(1), mixture)
        if weights.sources:
            values["sources"] = spectral_loss(voices.flatten(0, 1), sources.flatten(0, 1))
    for name, is_relative in (("magnitude", False), ("relative_magnitude", True)):
        if getattr(weights, name):
            values[name] = magnitude_loss(network, mixture, sources, heard_hz, is_relative)
    return {name: getattr(weights, name) * value for name, value in values.items()}


def half_convolutions(config: SystemConfig) -> torch.autocast:
    """Where convolutions may compute in bfloat16: those of the F0 networks, but not the transform before them."""
    return torch.autocast("cpu", torch.bfloat16, enabled=config.half_convolutions)


def at_frames(reader: Any, f0_hz: Tensor, frame_count: int) -> Tensor:
    """Labels at the frames of the salience, the nearest ones. Shape: (B, V, N) -> (B, V, frame_count)."""
    hcqt = reader.multi_f0.hcqt.config
    hops = torch.arange(frame_count) * (hcqt.hop_length / hcqt.sample_rate * umss.SAMPLE_RATE / umss.HOP_LENGTH)
    return f0_hz[:, :, torch.round(hops).long().clamp(max=f0_hz.shape[2] - 1)]


def salience_losses(
    reader: Any, by_voice: Tensor, salience: Tensor, targets: Tensor, frequencies_hz: Tensor, config: SystemConfig
) -> dict[str, Tensor]:
    """The losses on the assigner's maps that have a weight."""
    values = {}
    if config.weights.assigner:
        values["assigner"] = map_loss(by_voice, targets)
    if config.weights.salience:
        values["salience"] = salience_loss(by_voice, salience)
    if config.weights.voices:
        values["voices"] = register_loss(by_voice, frequencies_hz)
    if config.weights.commitment:
        values["commitment"] = commitment_loss(by_voice, reader.link.one_hot(by_voice))
    return values


def magnitude_loss(network: Any, mixture: Tensor, sources: Tensor, f0_hz: Tensor, is_relative: bool) -> Tensor:
    """L1 between estimated and true magnitude of one random voice of every example (the U-Net's loss); relative to that
    voice's mean magnitude, but to no less than a twentieth of the mixture's.
    """
    chosen = torch.randint(sources.shape[1], (len(mixture),))
    rows = torch.arange(len(mixture))
    spectra = network.spectrum(torch.cat([mixture, sources[rows, chosen]]))
    magnitudes = unet.magnitude(*spectra) / network.fourier.scale
    heard, wanted = magnitudes.chunk(2)
    error = (network.unet(heard, f0_hz[rows, chosen]) - wanted).abs().mean((1, 2))
    if is_relative:
        error = error / torch.maximum(wanted.mean((1, 2)), QUIETEST_VOICE * heard.mean((1, 2)))
    return error.mean()


def spectral_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of magnitudes and of their logarithms, summed over six windows. Shape: (R, T) twice."""
    total = torch.zeros((), device=estimate.device)
    for size in SPECTRAL_SIZES:
        found, wanted = magnitudes(estimate, size), magnitudes(target, size)
        total = total + (found - wanted).abs().mean() + (torch.log(found) - torch.log(wanted)).abs().mean()
    return total


def magnitudes(signal: Tensor, size: int) -> Tensor:
    """Frames of `size` every quarter of it, silence after the end. Shape: (R, T) -> (R, size / 2 + 1, N)."""
    hop_length = size // 4
    window = torch.hann_window(size, device=signal.device)
    padded = functional.pad(signal, (0, size - hop_length))
    spectrum = torch.stft(padded, size, hop_length, window=window, center=False, return_complex=True)
    return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + LEAST_POWER)


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
