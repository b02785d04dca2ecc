"""One pitch per voice: which of 156 pitches each voice part sings in each frame, or none.

First half of `chorus`: `PitchTracker` learns classes of pitch, `PitchDecoder` decides, nothing learned. The mixture
is laid on a logarithmic frequency grid, where a harmonic series is the same picture at every pitch, and shifted copies
stack a note's partials over its fundamental (as in Bittner et al., "Deep salience representations", ISMIR 2017).
Convolutions then find notes, a recurrent path decides who sings them, and a second pass lets every voice see what the
others claim, so that two voices learn not to take the same note.
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
REPULSION = 0.8
"""What a pitch loses, in nats, when another voice is certain to be on it."""
REPULSION_ROUNDS = 4
REACH_FRAMES = 16
COARSE_COUNT = PITCH_COUNT // 2
"""Messages are of pairs of pitches: a quarter of the work, and what they say is broad anyway."""
GLIDE_BINS = 2.0
"""Standard deviation of how far a pitch moves from one frame to the next."""
LEAP = 1e-5
"""Probability of any other pitch in the next frame."""


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


class PitchDecoder(nn.Module):
    """Logits -> F0 and voicing. Shape: (B, 4, P + 1, N) -> two tensors (B, 4, N), Hz and probability.

    A frame alone leaves doubts. Two voices seldom sing one note, so each pays for what the others claim (a mean field
    of repulsion, a few damped rounds); and a voice seldom leaves its note, so every frame gets word from the frames
    around it (sum-product messages along time, all frames at once: a graph could search from end to end only step by
    step).

    F0 is the local centre of mass around the most probable pitch, defined (and positive) even where voicing is low.
    Where two distant pitches are equally probable, voicing fades to nothing: which of them is ahead may then differ
    between runtimes that round differently, but no longer matters.
    """

    glides: Tensor

    near_bins = 4.0
    reach_bins = 1.0
    distant_bins = 3.5
    least_margin = 0.7
    """Lead over the best distant pitch, in nats, from which a pitch counts in full. A smaller one magnifies rounding:
    with 0.3, voicing differs by up to 3e-4 between runtimes."""

    def __init__(self) -> None:
        super().__init__()
        place = 2 * torch.arange(COARSE_COUNT, dtype=torch.float32)
        weights = torch.exp(-0.5 * ((place[:, None] - place) / GLIDE_BINS).square()) + LEAP
        # Probability of every pair of pitches after every other; columns sum to 1.
        self.register_buffer("glides", weights / weights.sum(0), persistent=False)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        pitches = torch.arange(PITCH_COUNT, device=logits.device, dtype=logits.dtype)[:, None]
        voicing = 1 - torch.softmax(logits, dim=2)[:, :, PITCH_COUNT]
        # Among the pitched classes alone: also a voice that hardly sounds has a pitch it would sing.
        log_pitched = self.in_context(self.apart(logits))
        lead, best = log_pitched.max(dim=2, keepdim=True)
        # First a sharp average around the best class, which is the same from whichever of two equal neighbours one
        # sets out; then the centre of mass of what the frame itself says there.
        near = ((pitches - best.to(logits.dtype)).abs() <= self.near_bins).to(logits.dtype)
        position = centre_of_mass(torch.exp(8 * (log_pitched - lead)) * near, pitches)
        window = -0.5 * ((pitches - position) / self.reach_bins).square()
        position = centre_of_mass(torch.softmax(logits[:, :, :PITCH_COUNT] + window, dim=2), pitches)
        distant = (pitches - position).abs() > self.distant_bins
        rival = (log_pitched - 1e3 * (1 - distant.to(logits.dtype))).max(dim=2, keepdim=True).values
        clear = torch.clamp((lead - rival) / self.least_margin, 0.0, 1.0)
        f0_hz = LOWEST_PITCH_HZ * torch.exp(position * (math.log(2) / BINS_PER_OCTAVE))
        return f0_hz.squeeze(2), voicing * clear.squeeze(2)

    def apart(self, logits: Tensor) -> Tensor:
        """Logits after every voice has paid for what the others claim. Shape: (B, 4, P + 1, N), both."""
        price = torch.zeros_like(logits)
        for _ in range(REPULSION_ROUNDS):
            claims = torch.softmax(logits - price, dim=2)[:, :, :PITCH_COUNT]
            others = claimed_by_others(claims)
            # Half of the old price stays, or two voices with equal claims would flee from a note together.
            price = 0.5 * price + 0.5 * REPULSION * functional.pad(others, (0, 0, 0, 1))
        return logits - price

    def in_context(self, logits: Tensor) -> Tensor:
        """Log probability of every pitch, given the frames around. Shape: (B, 4, P + 1, N) -> (B, 4, P, N)."""
        probability = torch.softmax(logits, dim=2)
        # Silence says nothing about the pitch.
        evidence = probability[:, :, :PITCH_COUNT] + probability[:, :, PITCH_COUNT:] / PITCH_COUNT
        coarse = evidence.unflatten(2, (COARSE_COUNT, 2)).sum(3)
        before, after = coarse, coarse
        for step in range(REACH_FRAMES):
            if step:
                before, after = coarse * before, coarse * after
            # What a frame tells the next one, and what it tells the one before; no news at the ends.
            before = functional.pad(self.glide(before)[..., :-1], (1, 0), value=1 / COARSE_COUNT)
            after = functional.pad(self.glide(after)[..., 1:], (0, 1), value=1 / COARSE_COUNT)
        heard = before * after
        spread = torch.stack([heard, heard], dim=3).flatten(2, 3)
        return torch.log(evidence * spread + 1e-20)

    def glide(self, belief: Tensor) -> Tensor:
        """Where a voice may be a frame later, or earlier. Shape: (B, 4, COARSE_COUNT, N), both."""
        return torch.matmul(self.glides, belief / (belief.sum(2, keepdim=True) + 1e-20))


def centre_of_mass(weights: Tensor, pitches: Tensor) -> Tensor:
    """Shape: (B, 4, P, N), (P, 1) -> (B, 4, 1, N)."""
    return (weights * pitches).sum(2, keepdim=True) / (weights.sum(2, keepdim=True) + 1e-9)
