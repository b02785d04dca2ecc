"""What a run of a published system is: which parts learn, from which losses, on which mixtures.

One YAML file under `configs/` each, told from those of the flagship by its key `system`; saved beside the weights. A
schedule of several stages, such as W_UP's three, is several files, each started from the checkpoint of the last.
"""

import dataclasses
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

from divisi_workshop.config import STRICT, parse, plain
from divisi_workshop.learning.learning import RunConfig
from divisi_workshop.learning.remix import Batch
from divisi_workshop.published import umss, unet

NINO_DIOS = "nino_dios"
SPECTRAL_SIZES = (2048, 1024, 512, 256, 128, 64)
LEAST_POWER = 1e-10
LEAST_MAGNITUDE = 1e-5
REGISTERS_HZ = ((258.6, 879.9), (189.3, 659.2), (145.1, 440.0), (90.4, 290.3))
"""Where soprano, alto, tenor and bass are expected to sing."""
BLUR_BINS = 1.0


class Part(StrEnum):
    """A part of a network that may learn."""

    MULTI_F0 = "multi_f0"
    ASSIGNER = "assigner"
    SEPARATOR = "separator"
    UNET = "unet"


class Pitch(StrEnum):
    """Where the separator's pitches come from while it learns: labels, or what the network itself reads."""

    LABELS = "labels"
    NETWORK = "network"


@dataclass(frozen=True, config=STRICT)
class LossWeights:
    """Weights of the losses (see below); 0 leaves a loss out. Published: reconstruction 1, salience 1e4,
    voices 1e5, commitment 1e4.
    """

    reconstruction: float = 0.0
    sources: float = 0.0
    salience: float = 0.0
    voices: float = 0.0
    commitment: float = 0.0
    multi_f0: float = 0.0
    assigner: float = 0.0
    magnitude: float = 0.0
    relative_magnitude: float = 0.0
    """As `magnitude`, but relative to each voice's own level, so that quiet voices count as loud ones."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SystemConfig(RunConfig):
    """One run. `learns` names the parts that are trained; all others are frozen."""

    system: str
    learns: tuple[Part, ...]
    weights: LossWeights
    network: umss.UmssConfig | unet.UnetConfig
    voice_count: int = 4
    """Voices in a mixture; 1 trains on single voices, 2 on random pairs."""
    pitch: Pitch = Pitch.NETWORK
    seed: int = 4
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    warmup_steps: int = 30
    validate_every: int = 250
    save_every: int = 50
    held_excerpts: int = 24
    half_convolutions: bool = False
    """F0 networks compute in bfloat16 while they learn: twice as fast where the processor knows it."""
    dataset: str = NINO_DIOS
    """Niño Dios, or one of `choir_folders`: bc1song, bcbq, csd, cantoria. Only Niño Dios is split by singer."""


def parse_system(values: dict[str, Any]) -> SystemConfig:
    """A run from plain values. `network` may name a preset (`served`, `published_joint`, …) and what differs from it.

    Raises:
        InputError: code `invalid-configuration`.
    """
    network = dict(values.get("network", {}))
    family: Any = unet if Part.UNET in values.get("learns", ()) else umss
    kind: Any = unet.UnetConfig if family is unet else umss.UmssConfig
    is_whole = "pitch" in network or "multi_f0" in network
    preset = network.pop("preset", None if is_whole else "served")
    base = plain(family.PRESETS[preset]()) if preset else {}
    remix = {"hop_length": 256, "excerpt_seconds": 2.048, **values.get("remix", {})}
    return parse(SystemConfig, {**values, "remix": remix, "network": parse(kind, merge(base, network))})


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, folder by folder."""
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = merge(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged


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


@dataclasses.dataclass(frozen=True)
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
