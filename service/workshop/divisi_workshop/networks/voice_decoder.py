"""What the mixture sounds like, and what one voice of a given pitch does in it: encoder, decoder and heads.

The encoder hears the mixture alone and says the same to every voice; the decoder meets it with one voice's pitch. No
parameter depends on how many voices there are.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.harmonic_bank import UNVOICED_HZ
from divisi_workshop.networks.lsf import FILTER_ORDER
from divisi_workshop.networks.source_filter import VoiceControls
from divisi_workshop.networks.spectral import ShortTimeFourier

NOISE_MAGNITUDES = 40
SILENT_MAGNITUDE = 1e-5
"""What exact zeros are replaced by before the logarithm."""
LOWEST_HZ, HIGHEST_HZ = 20.0, 8000.0


@dataclass(frozen=True)
class SeparatorConfig:
    """Encoder and decoder; the defaults are the published ones."""

    encoder_hidden: int = 256
    embedding: int = 128
    decoder_hidden: int = 512
    decoder_layers: int = 3
    magnitude_floor: float = 0.0
    """Added in power to what the encoder takes the logarithm of, against a sine of full scale. Published: nothing, so
    that in bins which synthetic voices leave empty it hears the rounding of the transform."""


class GlobalNorm(nn.Module):
    """Mean and variance over a whole example, scale and shift per channel (as in DDSP). Shape: (B, F, N)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, values: Tensor) -> Tensor:
        # Means of means: one long float32 sum would cost accuracy in some runtimes.
        centred = values - values.mean(2, keepdim=True).mean(1, keepdim=True)
        variance = centred.square().mean(2, keepdim=True).mean(1, keepdim=True)
        return centred / torch.sqrt(variance + 1e-5) * self.scale + self.shift


class MixtureEncoder(nn.Module):
    """Mixture -> embedding per frame. Shape: (B, N · hop) -> (B, N, embedding); frame n begins at sample n · hop."""

    def __init__(self, config: SeparatorConfig, window_length: int = 512, hop_length: int = 256) -> None:
        super().__init__()
        self.fourier = ShortTimeFourier(window_length, hop_length)
        bins, hidden = self.fourier.bin_count, config.encoder_hidden
        self.least_power = (config.magnitude_floor / self.fourier.scale) ** 2
        self.norm = GlobalNorm(bins)
        self.gru1 = nn.GRU(bins, hidden, batch_first=True)
        self.gru2 = nn.GRU(hidden, hidden, batch_first=True)
        self.gru3 = nn.GRU(hidden, hidden, batch_first=True)
        self.dense = nn.Linear(hidden, config.embedding)

    def forward(self, mixture: Tensor) -> Tensor:
        real, imag = self.fourier.analyse(mixture)
        # Centred frames from the second on are the published ones, which begin at their first sample.
        power = (real.square() + imag.square())[:, :, 1:] / self.fourier.scale**2
        audible = power + self.least_power if self.least_power else power + SILENT_MAGNITUDE**2 * (power <= 0)
        log_magnitude = 0.5 * torch.log(audible)
        first = recur(self.gru1, self.norm(log_magnitude).transpose(1, 2))
        second = recur(self.gru2, first)
        third = recur(self.gru3, second)
        embedding: Tensor = self.dense(third + second)
        return embedding


def recur(gru: nn.GRU, frames: Tensor) -> Tensor:
    """The outputs of a recurrent layer from rest. Shape: (R, N, inputs) -> (R, N, hidden).

    The exporter derives the size of an unnamed first state from a shape that folding may freeze; this one it cannot.
    """
    rest = functional.pad(0 * frames[None, :, 0, :1], (0, gru.hidden_size - 1))
    outputs: Tensor = gru(frames, rest)[0]
    return outputs


def perceptron(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """Layers of linear, layer norm, leaky ReLU."""
    sizes = [inputs] + [outputs] * layers
    blocks: list[nn.Module] = []
    for before, after in pairwise(sizes):
        blocks += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(0.01)]
    return nn.Sequential(*blocks)


class VoiceDecoder(nn.Module):
    """Pitch of a voice and embedding of its mixture -> controls. Shape: (R, N) in Hz, (R, N, embedding)."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        hidden, layers = config.decoder_hidden, config.decoder_layers
        self.f0_mlp = perceptron(1, hidden, layers)
        self.z_mlp = perceptron(config.embedding, hidden, layers)
        self.gru = nn.GRU(2 * hidden, hidden, batch_first=True)
        self.mlp = perceptron(hidden, hidden, layers)
        self.harmonic_amplitude = nn.Linear(hidden, 1)
        self.noise_gain = nn.Linear(hidden, 1)
        self.gaps = nn.Linear(hidden, FILTER_ORDER + 1)
        self.noise_spectrum = nn.GRU(hidden, NOISE_MAGNITUDES, batch_first=True)

    def forward(self, f0_hz: Tensor, embedding: Tensor) -> VoiceControls:
        pitch = self.f0_mlp(unit_pitch(f0_hz)[:, :, None])
        trunk = self.mlp(recur(self.gru, torch.cat([pitch, self.z_mlp(embedding)], dim=2)))
        colours = recur(self.noise_spectrum, trunk)
        return VoiceControls(
            harmonic_amplitude=positive(self.harmonic_amplitude(trunk)[:, :, 0], 2.0),
            noise_gain=positive(self.noise_gain(trunk)[:, :, 0], 1.0),
            gaps=positive(self.gaps(trunk), 2.0),
            noise_spectrum=positive(2.5 * colours[:, -1], 2.0),
        )


def unit_pitch(f0_hz: Tensor) -> Tensor:
    """Semitones on a scale where 20 Hz is 0 and 8 kHz is 1; unvoiced far below. Any shape."""
    return torch.log2(f0_hz.clamp(min=UNVOICED_HZ) / LOWEST_HZ) / math.log2(HIGHEST_HZ / LOWEST_HZ)


def positive(values: Tensor, largest: float) -> Tensor:
    """The published activation of all controls: largest · sigmoid(u)^ln 10, never quite 0. Any shape."""
    return largest * torch.sigmoid(values) ** math.log(10.0) + 1e-7
