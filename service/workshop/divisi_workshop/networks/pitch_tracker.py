"""One pitch per voice: which of 156 pitches each voice part sings in each frame, or none.

First half of `chorus`. The mixture is laid on a logarithmic frequency grid, where a harmonic series is the same
picture at every pitch, and shifted copies stack a note's partials over its fundamental (as in Bittner et al., "Deep
salience representations", ISMIR 2017). Convolutions then find notes, a recurrent path decides who sings them, and a
second pass lets every voice see what the others claim, so that two voices learn not to take the same note.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

BINS_PER_OCTAVE = 36
LOWEST_PITCH_HZ = 60.0
PITCH_COUNT = 156
"""Pitches 60 to 1187 Hz, 33 cents apart; class 156 means that the voice is silent or unvoiced."""

SAME_NOTE_BINS = 5
"""Pitches that count as one note, 167 cents."""

FORBIDDEN = 30.0
"""What an absent voice loses, in nats: more than any network gives."""

GRID_LOW_HZ = LOWEST_PITCH_HZ / 2
WIDE_HARMONICS = (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
NARROW_HARMONICS = (0.5, 1, 2)
"""Partials read from the spectrum of the longer window, which separates neighbouring notes of the low voices."""


def pitch_frequencies_hz() -> Tensor:
    """Centre of every pitch class. Shape: (PITCH_COUNT,)."""
    return LOWEST_PITCH_HZ * 2 ** (torch.arange(PITCH_COUNT, dtype=torch.float32) / BINS_PER_OCTAVE)


def harmonic_shift(harmonic: float) -> int:
    """First row of the grid that holds `harmonic` times the lowest pitch."""
    return round(BINS_PER_OCTAVE * math.log2(harmonic * LOWEST_PITCH_HZ / GRID_LOW_HZ))


def logarithmic_grid(bin_count: int, bin_width_hz: float, grid_size: int) -> Tensor:
    """Triangular averages that carry a linear spectrum to the logarithmic grid.

    A triangle reaches to its neighbours on the grid, and at least to the next bin. Rows beyond the spectrum are zero.
    Shape: (grid_size, bin_count).
    """
    centres = GRID_LOW_HZ * 2 ** (torch.arange(grid_size) / BINS_PER_OCTAVE) / bin_width_hz
    reach = torch.clamp(centres * (2 ** (1 / BINS_PER_OCTAVE) - 1), min=1.0)
    distance = (torch.arange(bin_count)[None] - centres[:, None]).abs()
    weights = torch.relu(1 - distance / reach[:, None])
    weights[centres > bin_count - 1] = 0
    return weights / weights.sum(1, keepdim=True).clamp(min=1e-9)


class ResidualBlock(nn.Module):
    """Two-dimensional convolution over (pitch, time), added to its input."""

    def __init__(self, channels: int, kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
        super().__init__()
        padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
        self.norm = nn.GroupNorm(1, channels)
        self.conv = nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation)

    def forward(self, features: Tensor) -> Tensor:
        return features + functional.gelu(self.conv(self.norm(features)))


class PitchTracker(nn.Module):
    """Log spectra of two windows -> class logits of both passes.

    `forward` takes `wide` (B, F, N) and `narrow` (B, F', N), the compressed spectra of the normal and the long window,
    and `roster` (B, 4): 1 where a voice may sing, 0 where it is known not to. It gives two tensors
    (B, 4, PITCH_COUNT + 1, N): the first guess and the one that has seen the first guess; and the log odds (B, 4) that
    a voice sings at all.
    """

    wide_grid: Tensor
    narrow_grid: Tensor

    def __init__(
        self,
        wide_bins: int,
        narrow_bins: int,
        bin_width_hz: float,
        voice_count: int = 4,
        channels: int = 32,
        hidden: int = 128,
        refined_hidden: int = 96,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.voice_count = voice_count
        wide_size = harmonic_shift(WIDE_HARMONICS[-1]) + PITCH_COUNT
        narrow_size = harmonic_shift(NARROW_HARMONICS[-1]) + PITCH_COUNT
        self.register_buffer("wide_grid", logarithmic_grid(wide_bins, bin_width_hz, wide_size), persistent=False)
        self.register_buffer(
            "narrow_grid", logarithmic_grid(narrow_bins, bin_width_hz / 2, narrow_size), persistent=False
        )
        classes = voice_count * (PITCH_COUNT + 1)

        stacked = len(WIDE_HARMONICS) + len(NARROW_HARMONICS)
        # The trunk works on pairs of pitches: half the rows, half the cost; the local maps tell the two apart again.
        self.stem = nn.Conv2d(stacked, channels, (6, 3), stride=(2, 1), padding=(2, 1))
        self.trunk = nn.Sequential(
            ResidualBlock(channels, (3, 3), (1, 1)),
            ResidualBlock(channels, (3, 3), (3, 1)),
            ResidualBlock(channels, (3, 3), (6, 1)),
            ResidualBlock(channels, (3, 3), (1, 2)),
            ResidualBlock(channels, (3, 3), (18, 1)),
        )
        self.squeeze = nn.Conv2d(channels, 16, 1)
        self.context = RecurrentContext(16 * PITCH_COUNT // 2, hidden, classes, dropout, voice_count)
        self.local = nn.Conv2d(channels, 2 * voice_count, 1)

        self.claim = nn.Conv2d(voice_count + 1, 16, (4, 1), stride=(2, 1), padding=(1, 0))
        self.exchange = nn.Conv2d(channels + 16, channels, (3, 3), padding=(1, 1))
        self.exchange_trunk = ResidualBlock(channels, (3, 3), (1, 2))
        self.refined_local = nn.Conv2d(channels, 2 * voice_count, 1)
        self.refined_context = RecurrentContext(classes, refined_hidden, classes, dropout, voice_count)
        self.presence = Presence(2 * (hidden + refined_hidden) + 2 * voice_count, voice_count)

    def forward(self, wide: Tensor, narrow: Tensor, roster: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        notes = self.trunk(functional.gelu(self.stem(self.stack_harmonics(wide, narrow))))
        absent = 1 - roster
        context, heard = self.context(self.squeeze(notes).flatten(1, 2), absent)
        guess = self._logits(self.local(notes), context, absent)

        claims = torch.softmax(guess, dim=2)
        pitched = claims[:, :, :PITCH_COUNT]
        claimed = self.claim(torch.cat([pitched, pitched.sum(1, keepdim=True)], dim=1))
        exchanged = self.exchange(torch.cat([notes, claimed], dim=1))
        exchanged = self.exchange_trunk(notes + functional.gelu(exchanged))
        context, heard_again = self.refined_context(claims.flatten(1, 2), absent)
        refined = guess + self._logits(self.refined_local(exchanged), context, absent)
        presence = self.presence(torch.cat([heard, heard_again, own_notes(refined).transpose(1, 2)], dim=2))
        return guess, refined, presence

    def stack_harmonics(self, wide: Tensor, narrow: Tensor) -> Tensor:
        """Shifted views of the logarithmic spectra. Shape: (B, F, N), (B, F', N) -> (B, harmonics, PITCH_COUNT, N)."""
        wide_log = torch.matmul(self.wide_grid, wide)
        narrow_log = torch.matmul(self.narrow_grid, narrow)
        views = []
        for log_spectrum, harmonics in ((wide_log, WIDE_HARMONICS), (narrow_log, NARROW_HARMONICS)):
            for harmonic in harmonics:
                first = harmonic_shift(harmonic)
                views.append(log_spectrum[:, first : first + PITCH_COUNT])
        return torch.stack(views, dim=1)

    def _logits(self, local: Tensor, context: Tensor, absent: Tensor) -> Tensor:
        """Sum the local maps (B, 4 · 2, P / 2, N), which know no silence, and the context (B, 4 · (P + 1), N).

        An absent voice, `absent` (B, 4), is left with silence alone.
        """
        context = context.unflatten(1, (self.voice_count, PITCH_COUNT + 1))
        pitched = local.unflatten(1, (self.voice_count, 2)).transpose(2, 3).flatten(2, 3)
        return context + functional.pad(pitched - FORBIDDEN * absent[:, :, None, None], (0, 0, 0, 1))


class RecurrentContext(nn.Module):
    """What a frame means in the course of the piece: a two-way recurrent net over whole frames.

    Shape: (B, inputs, N), absent voices (B, 4) -> (B, outputs, N), and what it remembers (B, N, 2 · hidden).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float, voice_count: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.absence = nn.Linear(voice_count, hidden, bias=False)
        nn.init.zeros_(self.absence.weight)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.leave = nn.Linear(2 * hidden, outputs)

    def forward(self, frames: Tensor, absent: Tensor) -> tuple[Tensor, Tensor]:
        told = self.enter(frames.transpose(1, 2)) + self.absence(absent)[:, None]
        entered = self.dropout(functional.gelu(told))
        remembered, _ = self.recurrent(entered)
        return self.leave(self.dropout(remembered)).transpose(1, 2), remembered


def own_notes(logits: Tensor) -> Tensor:
    """How surely each voice has a pitch, and one that no other voice has. Shape: (B, 4, P + 1, N) -> (B, 2 · 4, N)."""
    pitched = torch.softmax(logits, dim=2)[:, :, :PITCH_COUNT]
    others = torch.clamp(claimed_by_others(pitched), max=1.0)
    return torch.cat([pitched.sum(2), (pitched * (1 - others)).sum(2)], dim=1)


def claimed_by_others(pitched: Tensor) -> Tensor:
    """How surely the other voices are on the note of each pitch, summed over them. Shape: (B, 4, P, N), both."""
    near = SAME_NOTE_BINS * functional.avg_pool2d(
        pitched, (SAME_NOTE_BINS, 1), stride=1, padding=(SAME_NOTE_BINS // 2, 0)
    )
    return near.sum(1, keepdim=True) - near


class Presence(nn.Module):
    """Which voices sing at all: one answer for a whole stretch. Shape: (B, N, inputs) -> log odds (B, voice_count)."""

    def __init__(self, inputs: int, voice_count: int, hidden: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.leave = nn.Linear(2 * hidden, voice_count)

    def forward(self, frames: Tensor) -> Tensor:
        heard = functional.gelu(self.enter(frames))
        return self.leave(torch.cat([heard.mean(dim=1), heard.amax(dim=1)], dim=1))
