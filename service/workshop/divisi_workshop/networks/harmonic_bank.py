"""Oscillators of the source-filter voice: up to 101 equal harmonics of a moving pitch.

Two ways to the same samples: the published bank of sines, and the closed form of their sum, since all harmonics of a
frame have one amplitude (Dirichlet's kernel). The second needs six sines a sample instead of 101.
"""

import math
from enum import StrEnum

import torch
from torch import Tensor, nn

from divisi_workshop.networks.frame_grids import Upsampler

HARMONIC_COUNT = 101
UNVOICED_HZ = 1e-5
"""Pitch that silent frames are given: so slow that sines stay where they are."""


class Bank(StrEnum):
    """How the sum of harmonics is computed."""

    SINES = "sines"
    CLOSED_FORM = "closed_form"


class HarmonicBank(nn.Module):
    """Pitch and amplitude per frame -> tone.

    Shape: `f0_hz` and `amplitude` (R, N) -> (R, N · hop_length).

    Harmonics below the Nyquist frequency share the amplitude equally, frame by frame; a harmonic that passes it between
    two frames is muted from that sample on.
    """

    def __init__(self, sample_rate: int, hop_length: int, bank: Bank = Bank.CLOSED_FORM) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.bank = bank
        self.upsample = Upsampler(hop_length)

    def forward(self, f0_hz: Tensor, amplitude: Tensor) -> Tensor:
        frequency = self.upsample.linearly(f0_hz.double().clamp(min=UNVOICED_HZ))
        audible = self.audible(f0_hz.clamp(min=UNVOICED_HZ))
        fading, rising = self.upsample.neighbours(amplitude / audible)
        # Counts go with the amplitudes they share: the rising half belongs to the next frame.
        audible_next = torch.cat([audible[:, 1:], audible[:, -1:]], dim=1)
        audible_now = self.audible(frequency).float().unflatten(1, (-1, self.hop_length))
        turns = self.turns(frequency).unflatten(1, (-1, self.hop_length))
        harmonics = harmonics_by_sines if self.bank is Bank.SINES else harmonics_by_closed_form
        before = harmonics(turns, torch.minimum(audible[:, :, None], audible_now))
        after = harmonics(turns, torch.minimum(audible_next[:, :, None], audible_now))
        return (fading * before + rising * after).flatten(1)

    def audible(self, frequency_hz: Tensor) -> Tensor:
        """How many harmonics lie below the Nyquist frequency, at least 1. Any shape."""
        return (torch.ceil(0.5 * self.sample_rate / frequency_hz) - 1).clamp(1, HARMONIC_COUNT)

    def turns(self, frequency_hz: Tensor) -> Tensor:
        """Phase of the fundamental in turns, −0.5..0.5, the running sum of frequency.

        Summed hop by hop in double precision and wrapped, so that neither length nor runtime moves it.
        Shape: float64 (R, T) -> float32 (R, T).
        """
        blocks = (frequency_hz / self.sample_rate).unflatten(1, (-1, self.hop_length))
        within = torch.cumsum(blocks, dim=2)
        total = within[:, :, -1:]
        turns = within + (torch.cumsum(total, dim=1) - total)
        return (turns - torch.floor(turns + 0.5)).flatten(1).float()


def harmonics_by_sines(turns: Tensor, count: Tensor) -> Tensor:
    """Sum of the first `count` harmonics, sine by sine. Same shapes in and out."""
    total = torch.zeros_like(turns)
    for harmonic in range(1, HARMONIC_COUNT + 1):
        total = total + torch.sin(2 * math.pi * harmonic * turns) * (harmonic <= count)
    return total


def harmonics_by_closed_form(turns: Tensor, count: Tensor) -> Tensor:
    """The same sum as sin(K φ / 2) · sin((K + 1) φ / 2) / sin(φ / 2), with φ in −π..π."""
    half_phase = math.pi * turns
    # Where the phase is next to nothing, so is the sum, and no division may spoil it.
    tiny = half_phase.abs() < 1e-7
    safe = half_phase + 2e-7 * tiny
    return torch.sin(count * half_phase) * torch.sin((count + 1) * half_phase) / torch.sin(safe)
