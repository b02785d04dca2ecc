"""Source-filter synthesiser: from a voice's pitch and a few controls to its sound (Schulze-Forster et al., 2023).

harmonics of the pitch ─► glottal roll-off ─┐
coloured noise × gain ──────────────────────┴─► all-pole filter of the vocal tract, frame by frame ─► voice
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from divisi_workshop.networks.frame_grids import Upsampler, half_overlapping, overlap_halves
from divisi_workshop.networks.harmonic_bank import Bank, HarmonicBank
from divisi_workshop.networks.lsf import AllPole, Recursion, line_spectral_frequencies, prediction_polynomial
from divisi_workshop.networks.source_filters import GlottalRolloff, NoiseColour

NOISE_TABLE_LENGTH = 1 << 14
NOISE_SEED = 4


@dataclass(frozen=True)
class VoiceControls:
    """What the decoder says of R voices over N frames.

    `harmonic_amplitude` and `noise_gain` (R, N), `gaps` of the line spectral frequencies (R, N, P + 1), and the
    spectrum of the noise (R, 40), one for the whole excerpt. All positive.
    """

    harmonic_amplitude: Tensor
    noise_gain: Tensor
    gaps: Tensor
    noise_spectrum: Tensor


@dataclass(frozen=True)
class SynthesiserConfig:
    """Both costly stages have an exact cheaper form; the published one is kept to compare with."""

    sample_rate: int = 16_000
    hop_length: int = 256
    bank: Bank = Bank.CLOSED_FORM
    recursion: Recursion = Recursion.BLOCKS
    has_noise: bool = True


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
        if self.config.has_noise:
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
