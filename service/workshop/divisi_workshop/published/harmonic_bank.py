"""Source and filter of a synthesised voice: harmonics of a moving pitch, the vocal tract, and frames to samples.

Two ways to the same harmonics, up to 101: the published bank of sines, and the closed form of their sum, since all in a
frame have one amplitude (Dirichlet's kernel); the second needs six sines a sample instead of 101. The tract is an
all-pole filter per frame, in double precision, from line spectral frequencies: as long as they rise from 0 to π, it is
stable (Itakura, 1975). `R` counts rows, one per voice of each recording.
"""

import math
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

HARMONIC_COUNT = 101
UNVOICED_HZ = 1e-5
"""Pitch that silent frames are given: so slow that sines stay where they are."""
FILTER_ORDER = 20


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


def resample_track(track: Tensor, frame_count: int) -> Tensor:
    """Linear interpolation that stretches a track over another number of frames. Shape: (R, N) -> (R, frame_count).

    Also across gaps, where the published systems so make pitches that nobody sang. Counts may be traced.
    """
    steps = torch.arange(frame_count, device=track.device, dtype=torch.float64)
    position = (steps + 0.5) * (track.shape[1] / frame_count) - 0.5
    position = position.clamp(min=0.0)
    below = torch.floor(position).long().clamp(max=track.shape[1] - 1)
    above = (below + 1).clamp(max=track.shape[1] - 1)
    share = (position - below).to(track.dtype)
    return track[:, below] * (1 - share) + track[:, above] * share


def regrid_pitch(f0_hz: Tensor, factor: int) -> Tensor:
    """`factor` frames out of each, without glides: the nearest frame decides whether a voice is silent, and pitches
    are interpolated between sounding neighbours alone.

    Frame n of the result is centred where frame n / factor of the track is. Shape: (R, N) -> (R, N · factor).
    """
    if factor == 1:
        return f0_hz
    following = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], dim=1)
    share = (torch.arange(factor, device=f0_hz.device, dtype=f0_hz.dtype) / factor)[None, None]
    now, then = f0_hz[:, :, None], following[:, :, None]
    nearest = torch.where(share < 0.5, now, then)
    between = now * (1 - share) + then * share
    return torch.where((now > 0) & (then > 0), between, nearest).flatten(1)


class Upsampler(nn.Module):
    """Frames to samples, `hop_length` samples a frame.

    Shape: (R, N) -> (R, N · hop_length).
    """

    linear: Tensor
    falling: Tensor
    rising: Tensor

    def __init__(self, hop_length: int) -> None:
        super().__init__()
        places = (torch.arange(hop_length, dtype=torch.float64) + 0.5) / hop_length - 0.5
        linear = torch.stack([torch.relu(-places), 1 - places.abs(), torch.relu(places)])
        self.register_buffer("linear", linear, persistent=False)
        window = torch.hann_window(2 * hop_length, dtype=torch.float64)
        self.register_buffer("rising", window[:hop_length].float(), persistent=False)
        self.register_buffer("falling", window[hop_length:].float(), persistent=False)

    def linearly(self, frames: Tensor) -> Tensor:
        """Straight lines between the middles of the frames. float64 in, float64 out."""
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)[:, :, None]
        after = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)[:, :, None]
        return (before * self.linear[0] + frames[:, :, None] * self.linear[1] + after * self.linear[2]).flatten(1)

    def neighbours(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Overlapping Hann windows centred on the first sample of each frame, the last frame held to the end.

        Returns for every sample the fading frame's share and the rising frame's, each (R, N, hop_length); their sum
        is the envelope.
        """
        after = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)
        return frames[:, :, None] * self.falling, after[:, :, None] * self.rising

    def by_windows_from_start(self, frames: Tensor) -> Tensor:
        """Overlapping Hann windows of which frame n begins with sample n · hop_length; the first does not fade in."""
        before = functional.pad(frames[:, :-1], (1, 0))[:, :, None]
        faded_in = before * self.falling + frames[:, :, None] * self.rising
        return torch.cat([(frames[:, :1, None] + 0 * self.rising), faded_in[:, 1:]], dim=1).flatten(1)


def half_overlapping(signal: Tensor, hop_length: int) -> Tensor:
    """Frames of two hops, one every hop; silence after the end. Shape: (R, N · hop) -> (R, N, 2 · hop)."""
    blocks = functional.pad(signal, (0, hop_length)).reshape(signal.shape[0], -1, hop_length)
    return torch.cat([blocks[:, :-1], blocks[:, 1:]], dim=2)


def overlap_halves(frames: Tensor) -> Tensor:
    """Inverse of `half_overlapping` for windowed frames: sums what overlaps, drops what lies beyond the end."""
    first, second = frames.chunk(2, dim=2)
    return (first + functional.pad(second[:, :-1], (0, 0, 1, 0))).flatten(1)


class Recursion(StrEnum):
    """How the all-pole filter runs over a frame: sample by sample as published, or in blocks, with equal results."""

    SAMPLES = "samples"
    BLOCKS = "blocks"


def line_spectral_frequencies(gaps: Tensor) -> Tensor:
    """Positive gaps (..., P + 1) -> rising frequencies (..., P) in 0..π, which the gaps divide."""
    shares = gaps / gaps.sum(-1, keepdim=True)
    return torch.pi * torch.cumsum(shares, dim=-1)[..., :-1]


def prediction_polynomial(frequencies: Tensor) -> Tensor:
    """Coefficients of A(z), the first of which is 1, from line spectral frequencies of even order P.

    A = [(1 + z⁻¹) p + (1 − z⁻¹) q] / 2, p and q the products of 1 − 2 cos ω z⁻¹ + z⁻² over every second frequency.
    Shape: (..., P) -> (..., P + 1).
    """
    cosines = torch.cos(frequencies)
    symmetric = multiply_out(cosines[..., 0::2])
    antisymmetric = multiply_out(cosines[..., 1::2])
    sums = symmetric + antisymmetric
    differences = symmetric - antisymmetric
    # The coefficient of z to the power of -(P + 1) is 0, the two products ending in 1 both.
    return 0.5 * (sums + functional.pad(differences[..., :-1], (1, 0)))


def multiply_out(cosines: Tensor) -> Tensor:
    """Product of 1 − 2 c z⁻¹ + z⁻² over the last axis. Shape: (..., M) -> (..., 2 M + 1)."""
    # Made by arithmetic, not by shape: the exporter would write the shape of its example into the graph.
    zero = 0 * cosines[..., :1]
    product = zero + 1
    for index in range(cosines.shape[-1]):
        padded = torch.cat([product, zero, zero], dim=-1)
        once = torch.cat([zero, product, zero], dim=-1)
        twice = torch.cat([zero, zero, product], dim=-1)
        product = padded - 2 * cosines[..., index : index + 1] * once + twice
    return product


class AllPole(nn.Module):
    """Every frame through its own filter 1 / A(z), from rest.

    Shape: frames (R, N, L), polynomials (R, N, P + 1) whose first coefficient is 1 -> (R, N, L).
    """

    BLOCK_LENGTH = 32

    lags: Tensor

    def __init__(self, recursion: Recursion = Recursion.BLOCKS) -> None:
        super().__init__()
        self.recursion = recursion
        places = torch.arange(self.BLOCK_LENGTH)
        lag = places[:, None] - places[None]
        self.register_buffer("lags", torch.where(lag >= 0, lag, self.BLOCK_LENGTH).flatten(), persistent=False)

    def forward(self, frames: Tensor, polynomials: Tensor) -> Tensor:
        if self.recursion is Recursion.SAMPLES:
            return self.by_samples(frames, polynomials)
        return self.by_blocks(frames, polynomials)

    def by_samples(self, frames: Tensor, polynomials: Tensor) -> Tensor:
        """y[n] = x[n] − Σ a[k] y[n − k]."""
        order = polynomials.shape[-1] - 1
        backwards = polynomials[..., 1:].flip(-1)
        memory = 0 * frames[..., :order]
        samples = []
        for index in range(int(frames.shape[-1])):
            sample = frames[..., index : index + 1] - (memory * backwards).sum(-1, keepdim=True)
            memory = torch.cat([memory[..., 1:], sample], dim=-1)
            samples.append(sample)
        return torch.cat(samples, dim=-1)

    def by_blocks(self, frames: Tensor, polynomials: Tensor) -> Tensor:
        """A block from rest is a product with the triangular matrix of the impulse response; what earlier blocks left
        ringing depends on their last P samples alone, through one matrix for all blocks.
        """
        length = self.BLOCK_LENGTH
        order = polynomials.shape[-1] - 1
        impulse = functional.pad(0 * frames[..., :1] + 1, (0, length - 1))
        response = functional.pad(self.by_samples(impulse, polynomials), (0, 1))
        triangle = response[..., self.lags].unflatten(-1, (length, length))
        # Column j of the ringing: what sample −P + j of the past feeds into the block.
        fed = -torch.stack(
            [functional.pad(polynomials[..., order - j :], (0, length - j - 1)) for j in range(order)], dim=-1
        )
        ringing = torch.matmul(triangle, fed)
        from_rest = torch.matmul(triangle, frames.unflatten(-1, (-1, length)).transpose(-1, -2))
        block = from_rest[..., :1]
        blocks = [block]
        for index in range(1, int(frames.shape[-1]) // length):
            block = from_rest[..., index : index + 1] + torch.matmul(ringing, block[..., length - order :, :])
            blocks.append(block)
        return torch.cat(blocks, dim=-1).transpose(-1, -2).flatten(-2)
