"""From a mixture and a voice's pitch to that voice's sound (Schulze-Forster et al., 2023): decoder and synthesiser.

The encoder hears the mixture alone and says the same to every voice; the decoder meets it with one voice's pitch. No
parameter depends on how many voices there are. What the decoder says, the synthesiser makes audible:

harmonics of the pitch ─► glottal roll-off ─┐
coloured noise × gain ──────────────────────┴─► all-pole filter of the vocal tract, frame by frame ─► voice
"""

import dataclasses
import math
from itertools import pairwise

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.config import STRICT
from divisi_workshop.networks.spectral import ShortTimeFourier
from divisi_workshop.published.harmonic_bank import (
    FILTER_ORDER,
    UNVOICED_HZ,
    AllPole,
    Bank,
    HarmonicBank,
    Recursion,
    Upsampler,
    half_overlapping,
    line_spectral_frequencies,
    overlap_halves,
    prediction_polynomial,
)

NOISE_TABLE_LENGTH = 1 << 14
NOISE_SEED = 4
NOISE_MAGNITUDES = 40
SILENT_MAGNITUDE = 1e-5
"""What exact zeros are replaced by before the logarithm."""
LOWEST_HZ, HIGHEST_HZ = 20.0, 8000.0


@dataclasses.dataclass(frozen=True)
class VoiceControls:
    """What the decoder says of R voices over N frames.

    `harmonic_amplitude` and `noise_gain` (R, N), `gaps` of the line spectral frequencies (R, N, P + 1), and the
    spectrum of the noise (R, 40), one for the whole excerpt. All positive.
    """

    harmonic_amplitude: Tensor
    noise_gain: Tensor
    gaps: Tensor
    noise_spectrum: Tensor


@dataclass(frozen=True, config=STRICT)
class SynthesiserConfig:
    """Both costly stages have an exact cheaper form; the published one is kept to compare with."""

    sample_rate: int = 16_000
    hop_length: int = 256
    bank: Bank = Bank.CLOSED_FORM
    recursion: Recursion = Recursion.BLOCKS


class SourceFilter(nn.Module):
    """F0 (R, N) in Hz, 0 where unvoiced, and controls -> voices (R, N · hop_length).

    While training, the noise is drawn anew at every call; otherwise it is a fixed table, so that equal input gives
    equal output.
    """

    noise_table: Tensor
    window: Tensor

    def __init__(self, config: SynthesiserConfig = SynthesiserConfig()) -> None:
        super().__init__()
        self.config = config
        hop_length = config.hop_length
        self.harmonics = HarmonicBank(config.sample_rate, hop_length, config.bank)
        self.rolloff = GlottalRolloff(config.sample_rate)
        self.colour = NoiseColour(hop_length)
        self.tract = AllPole(config.recursion)
        self.upsample = Upsampler(hop_length)
        self.register_buffer("window", torch.hann_window(2 * hop_length, dtype=torch.float64), persistent=False)
        generator = torch.Generator().manual_seed(NOISE_SEED)
        # Rounded, so that artifacts hold it in half the bytes.
        table = (2 * torch.rand(NOISE_TABLE_LENGTH, generator=generator) - 1).half().float()
        self.register_buffer("noise_table", table, persistent=False)

    def forward(self, f0_hz: Tensor, controls: VoiceControls) -> Tensor:
        excitation = self.rolloff(self.harmonics(f0_hz, controls.harmonic_amplitude))
        noise = self.colour(self.white_noise(excitation), controls.noise_spectrum)
        excitation = excitation + noise * self.upsample.by_windows_from_start(controls.noise_gain)
        frames = half_overlapping(excitation, self.config.hop_length)
        polynomials = prediction_polynomial(line_spectral_frequencies(controls.gaps.double()))
        return overlap_halves(self.tract(frames.double(), polynomials) * self.window).float()

    def white_noise(self, like: Tensor) -> Tensor:
        """Uniform in −1..1. Shape: that of `like`."""
        if self.training:
            return 2 * torch.rand_like(like) - 1
        # Rows start a third of the table apart, so that voices of one recording do not sound the same noise.
        places = torch.arange(like.shape[1], device=like.device)
        rows = torch.arange(like.shape[0], device=like.device) * (NOISE_TABLE_LENGTH // 3)
        index = (places[None] + rows[:, None]) % NOISE_TABLE_LENGTH
        return self.noise_table[index]


class GlottalRolloff(nn.Module):
    """The slope of a voice's source: flat to 200 Hz, then 6 dB less with every octave, as one linear-phase filter.

    A time-invariant filter, so one convolution equals the published block-wise multiplication of spectra.
    Shape: (R, T) -> (R, T).
    """

    REFERENCE_HZ = 200.0
    DB_PER_OCTAVE = 6.0
    TAP_COUNT = 128
    DELAY = 62

    taps: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        frequencies = torch.linspace(0, sample_rate / 2, self.TAP_COUNT // 2 + 1, dtype=torch.float64)
        octaves = torch.log2(frequencies.clamp(min=self.REFERENCE_HZ) / self.REFERENCE_HZ)
        magnitude = 10 ** (-self.DB_PER_OCTAVE * octaves / 20)
        response = torch.roll(torch.fft.irfft(magnitude, self.TAP_COUNT), self.TAP_COUNT // 2)
        response = response * torch.hann_window(self.TAP_COUNT, dtype=torch.float64)
        self.register_buffer("taps", response.flip(0).float()[None, None], persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        padded = functional.pad(signal[:, None], (self.TAP_COUNT - 1 - self.DELAY, self.DELAY))
        return functional.conv1d(padded, self.taps)[:, 0]


class NoiseColour(nn.Module):
    """White noise through one filter per voice, given as 40 magnitudes from 0 to the Nyquist frequency.

    Shape: noise (R, N · hop_length), magnitudes (R, 40) -> (R, N · hop_length).
    """

    to_taps: Tensor
    diagonals: Tensor

    def __init__(self, hop_length: int, magnitude_count: int = 40) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.tap_count = 2 * (magnitude_count - 1)
        points = torch.arange(magnitude_count, dtype=torch.float64)
        places = torch.arange(self.tap_count, dtype=torch.float64) - self.tap_count // 2
        # The inverse DFT of a real, even spectrum, centred and windowed, as one matrix.
        cosines = torch.cos(2 * math.pi * torch.outer(points, places) / self.tap_count)
        weights = torch.full((magnitude_count, 1), 2.0, dtype=torch.float64)
        weights[0] = weights[-1] = 1.0
        window = torch.hann_window(self.tap_count, dtype=torch.float64)
        self.register_buffer("to_taps", (weights * cosines * window / self.tap_count).float(), persistent=False)
        # Which tap stands where in the banded matrix that convolves a block; far from the diagonal stands none.
        reach = hop_length + self.tap_count - 1
        offset = torch.arange(hop_length)[None] + self.tap_count - 1 - torch.arange(reach)[:, None]
        inside = (offset >= 0) & (offset < self.tap_count)
        self.register_buffer("diagonals", torch.where(inside, offset, self.tap_count).flatten(), persistent=False)

    def forward(self, noise: Tensor, magnitudes: Tensor) -> Tensor:
        taps = functional.pad(magnitudes @ self.to_taps, (0, 1))
        reach = self.hop_length + self.tap_count - 1
        bands = taps.index_select(1, self.diagonals).unflatten(1, (reach, self.hop_length))
        delay = self.tap_count // 2
        # Blocks of one hop, each with the samples that its filter reaches beyond it.
        ahead = functional.pad(noise, (self.tap_count - 1 - delay, delay))
        first = ahead[:, : noise.shape[1]].unflatten(1, (-1, self.hop_length))
        rest = functional.pad(ahead[:, self.hop_length :], (0, self.hop_length - self.tap_count + 1))
        rest = rest.unflatten(1, (-1, self.hop_length))[:, :, : self.tap_count - 1]
        return torch.bmm(torch.cat([first, rest], dim=2), bands).flatten(1)


@dataclass(frozen=True, config=STRICT)
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
