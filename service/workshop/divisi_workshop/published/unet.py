"""F0-conditioned U-Nets (Petermann et al., 2020): the supervised baselines, in both conditions.

For each voice, the magnitude of the mixture is modulated by what a condition network makes of that voice's pitch, then
masked by a U-Net; the estimates of all voices share out the mixture. `original` reads the pitch as a blurred one-hot
vector through convolutions, `efficient` as the spectrum of equal harmonics of it, frame by frame.
"""

from dataclasses import field
from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.config import STRICT, parse
from divisi_workshop.networks.spectral import ShortTimeFourier, ratio_masks
from divisi_workshop.published import umss
from divisi_workshop.published.harmonic_bank import Bank, HarmonicBank

HOP_LENGTH = 256
WINDOW_LENGTH = 1024
EXTRA_FRAMES = 2
"""Frames at each end of the spectrum beyond those of the pitch."""
PITCH_BINS = 361
BLUR_REACH = 4
TAPS_BEFORE, TAPS_AFTER = 4, 5
"""What a frame of the original condition's convolutions reaches back and ahead."""
LEAST_SHARE = 1e-4
"""Where no voice claims anything, all share alike: rounding must not decide between numbers next to nothing."""
QUIETEST_SHARE = 1e-5
"""Of the loudest magnitude: silence has no root with a gradient."""


class Condition(StrEnum):
    """How a pitch modulates the spectrum."""

    ORIGINAL = "original"
    EFFICIENT = "efficient"


@dataclass(frozen=True, config=STRICT)
class UnetConfig:
    """The defaults are the published baseline; `pitch` says who reads the pitches and hands them out."""

    condition: Condition = Condition.ORIGINAL
    first_channels: int = 16
    depth: int = 6
    condition_channels: tuple[int, ...] = (16, 64, 256)
    perceptron_hidden: int = 513
    """Width of the two-layer perceptrons of the efficient condition."""
    slope: float = 1.0
    """Published fault: the encoder's leaky rectifiers have slope 1 and so rectify nothing; 0.01 was meant."""
    input_exponent: float = 1.0
    """Magnitudes relative to the loudest are raised to this before they are modulated; published: as they are, which
    leaves quiet voices next to nothing."""
    dropout: float = 0.5
    """Share of the channels that the first three upward levels lose while learning."""
    bank: Bank = Bank.CLOSED_FORM
    mask_exponent: float = 1.0
    pitch: umss.UmssConfig = field(default_factory=umss.published_umss)


class OriginalCondition(nn.Module):
    """Pitch (R, N) in Hz -> gain and offset, each (R, F, N + 4)."""

    def __init__(self, bin_count: int, config: UnetConfig) -> None:
        super().__init__()
        sizes = (PITCH_BINS, *config.condition_channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, TAPS_BEFORE + 1 + TAPS_AFTER) for inputs, outputs in pairwise(sizes)
        )
        self.linear_gamma = nn.Linear(sizes[-1], bin_count)
        self.linear_beta = nn.Linear(sizes[-1], bin_count)

    def forward(self, f0_hz: Tensor) -> tuple[Tensor, Tensor]:
        features = blurred(pitch_places(f0_hz)).transpose(1, 2)
        for convolution in self.convolutions:
            features = convolution(functional.pad(features, (TAPS_BEFORE, TAPS_AFTER)))
        frames = features.transpose(1, 2)
        return self.linear_gamma(frames).transpose(1, 2), self.linear_beta(frames).transpose(1, 2)


def pitch_places(f0_hz: Tensor) -> Tensor:
    """Place of each pitch, 20 cents a step, 0 = unvoiced; both ends are held. Shape: (R, N) in Hz -> (R, N + 4)."""
    held = torch.cat([f0_hz[:, :1]] * EXTRA_FRAMES + [f0_hz] + [f0_hz[:, -1:]] * EXTRA_FRAMES, dim=1)
    return (torch.round(60 * torch.log2(held / 32.7 + 1e-8)) + 1).clamp(0, PITCH_BINS - 1)


def blurred(places: Tensor) -> Tensor:
    """One-hot vectors of places, blurred by a Gaussian. Shape: (…) -> (…, 361)."""
    distance = torch.arange(PITCH_BINS, device=places.device) - places[..., None]
    return torch.exp(-0.5 * distance.square()) * (distance.abs() <= BLUR_REACH)


class EfficientCondition(nn.Module):
    """Pitch (R, N) in Hz -> gain and offset, each (R, F, N + 4)."""

    def __init__(self, fourier: ShortTimeFourier, config: UnetConfig) -> None:
        super().__init__()
        self.fourier = fourier
        self.bank = HarmonicBank(umss.SAMPLE_RATE, HOP_LENGTH, config.bank)
        bins = fourier.bin_count
        hidden = config.perceptron_hidden
        self.gamma = nn.Sequential(nn.Linear(bins, hidden), nn.Tanh(), nn.Linear(hidden, bins), nn.ReLU())
        self.beta = nn.Sequential(nn.Linear(bins, hidden), nn.Tanh(), nn.Linear(hidden, bins), nn.ReLU())

    def forward(self, f0_hz: Tensor) -> tuple[Tensor, Tensor]:
        # Of the pitches' own size at run time: the exporter would write down that of its example for `ones_like`.
        harmonics = self.bank(f0_hz, 0 * f0_hz + 1)
        real, imag = self.fourier.analyse(functional.pad(harmonics, (0, WINDOW_LENGTH - HOP_LENGTH)))
        frames = magnitude(real, imag).transpose(1, 2) / self.fourier.scale
        return self.gamma(frames).transpose(1, 2), self.beta(frames).transpose(1, 2)


class ConditionedUnet(nn.Module):
    """Magnitudes of mixtures and one pitch each -> magnitudes of the voices.

    Shape: (R, F, N + 4), (R, N) in Hz, 0 = unvoiced -> (R, F, N + 4).
    """

    def __init__(self, fourier: ShortTimeFourier, config: UnetConfig) -> None:
        super().__init__()
        self.input_exponent = config.input_exponent
        self.condition: nn.Module
        if config.condition is Condition.ORIGINAL:
            self.condition = OriginalCondition(fourier.bin_count, config)
        else:
            self.condition = EfficientCondition(fourier, config)
        sizes = [1] + [config.first_channels << level for level in range(config.depth)]
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 5, stride=2, padding=2),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(config.slope) if config.slope != 1.0 else nn.Identity(),
            )
            for inputs, outputs in pairwise(sizes)
        )
        self.up = nn.ModuleList()
        self.after = nn.ModuleList()
        for level in range(config.depth - 1, -1, -1):
            joined = sizes[level + 1] * (1 if level == config.depth - 1 else 2)
            # One row and column more than needed; `forward` cuts to the size of the skip.
            self.up.append(nn.ConvTranspose2d(joined, sizes[level], 5, stride=2, padding=2, output_padding=1))
            if level:
                layers: list[nn.Module] = [nn.BatchNorm2d(sizes[level]), nn.ReLU()]
                self.after.append(
                    nn.Sequential(*layers, *([nn.Dropout2d(config.dropout)] if level > config.depth - 4 else []))
                )

    def forward(self, mixture: Tensor, f0_hz: Tensor) -> Tensor:
        estimated: Tensor = self.shares(mixture, f0_hz) * mixture
        return estimated

    def shares(self, mixture: Tensor, f0_hz: Tensor) -> Tensor:
        """What part of every magnitude the voice has, 0..1. Shapes as above."""
        gamma, beta = self.condition(f0_hz)
        loudest = mixture.amax((1, 2), keepdim=True)
        heard = mixture / (loudest + (loudest <= 0))
        if self.input_exponent != 1.0:
            heard = heard.clamp(min=QUIETEST_SHARE) ** self.input_exponent
        features = (heard * gamma + beta)[:, None]
        skips = [features]
        for block in self.down:
            skips.append(block(skips[-1]))
        features = skips.pop()
        for level, up in enumerate(self.up):
            if level:
                features = torch.cat([self.after[level - 1](features), skips.pop()], dim=1)
            size = skips[-1].shape
            features = up(features)[:, :, : size[2], : size[3]]
        return torch.sigmoid(features[:, 0])


class UnetSeparator(nn.Module):
    """Mixture (B, 1, T) -> estimates (B, V, 1, T) and F0 (B, V, T / 256) in Hz, 0 = unvoiced.

    T is a multiple of 512.
    """

    def __init__(self, config: UnetConfig = UnetConfig()) -> None:
        super().__init__()
        self.config = config
        self.fourier = ShortTimeFourier(WINDOW_LENGTH, HOP_LENGTH)
        self.pitch = umss.PitchReader(config.pitch)
        self.unet = ConditionedUnet(self.fourier, config)

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        signal = mixture[:, 0]
        peak = signal.abs().amax(1, keepdim=True).clamp(min=umss.QUIETEST_PEAK)
        f0_hz = self.pitch(signal / peak)
        real, imag = self.spectrum(signal)
        shares = self.shares(magnitude(real, imag) / self.fourier.scale, f0_hz)
        masks = ratio_masks(shares.clamp(min=LEAST_SHARE), self.config.mask_exponent)
        waves = self.fourier.synthesise((masks * real[:, None]).flatten(0, 1), (masks * imag[:, None]).flatten(0, 1))
        estimates = waves.unflatten(0, (-1, f0_hz.shape[1]))[:, :, : signal.shape[1]]
        return estimates[:, :, None], f0_hz

    def spectrum(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (B, T) -> twice (B, F, T / 256 + 4)."""
        return self.fourier.analyse(functional.pad(signal, (0, WINDOW_LENGTH - HOP_LENGTH)))

    def shares(self, mixture: Tensor, f0_hz: Tensor) -> Tensor:
        """What every voice has of the mixture's magnitudes. Shape: (B, F, N + 4), (B, V, N) -> (B, V, F, N + 4)."""
        voices = f0_hz.shape[1]
        rows = mixture[:, None].expand(-1, voices, -1, -1).flatten(0, 1)
        return self.unet.shares(rows, f0_hz.flatten(0, 1)).unflatten(0, (-1, voices))


def magnitude(real: Tensor, imag: Tensor) -> Tensor:
    return torch.sqrt(real.square() + imag.square() + 1e-20)


def published(condition: Condition = Condition.ORIGINAL) -> UnetConfig:
    """The published baseline in one of its conditions."""
    return UnetConfig(condition, bank=Bank.SINES)


def served(condition: Condition = Condition.ORIGINAL, voice_count: int = 4) -> UnetConfig:
    """What the bundles hold: narrower, and with rectifiers that rectify."""
    return UnetConfig(
        condition,
        first_channels=8,
        depth=4,
        condition_channels=(48, 48, 64),
        perceptron_hidden=96,
        slope=0.01,
        input_exponent=0.4,
        dropout=0.0,
        mask_exponent=1.5,
        pitch=umss.served(umss.Assignment.HEURISTIC, voice_count),
    )


PRESETS = {"published": published, "served": served}


def build(config: dict[str, Any] | None = None) -> nn.Module:
    """The network for plain values as saved beside a checkpoint; None gives the served one."""
    return UnetSeparator(served() if config is None else parse(UnetConfig, dict(config)))
