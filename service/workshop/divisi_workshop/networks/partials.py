"""Partials told apart by their phases: what no mask can do where two voices share a bin. Third stage of `chorus`.

Two partials a few hertz apart fill the same bins, and a mask can only scale what they are together. Over a quarter of a
second, though, each turns at its own rate, and the pitches say at which. So the low band of the mixture is written,
frame by frame, as a sum of sines at the multiples of every voice's pitch, each with an unknown complex amplitude whose
prior power comes from the masks. The posterior mean of the amplitudes (regularised least squares, a Wiener filter
between sines) is what each voice sings. Before that, the same model mends the pitches: Gauss-Newton steps move each
track to where its partials explain more of the mixture.

The equations of a frame are solved by a fixed number of conjugate gradient steps, which every runtime can do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.harmonic_mask import sample


@dataclass(frozen=True)
class SineBand:
    """Which partials are looked at. The signal is taken at 1 / `decimation` of the rate, partials fade out below
    `highest_hz`, and every voice has as many as usually lie below.
    """

    decimation: int
    highest_hz: float
    counts: tuple[int, ...]


MENDING_BAND = SineBand(8, 850.0, (4, 5, 7, 11))
SPLITTING_BAND = SineBand(4, 1300.0, (5, 7, 10, 15))
"""Nearly all collisions that matter lie below."""
SPLITTING_NOISE, MENDING_NOISE = 3e-4, 1e-3
"""Share of a frame's power that is expected to be no partial."""
FADE_HZ = 100.0
QUIETEST_POWER = 1e-10
PITCH_DEVIATION_CENTS = 15.0
LONGEST_STEP_CENTS = 15.0
SPLITTING_STEPS, MENDING_STEPS, EXCUSING_STEPS = 10, 6, 2
"""Of the solver, by what is solved; more change nothing that can be measured."""


class PartialSplit(nn.Module):
    """Mixture and masked magnitudes -> mended pitches and what each voice sings of the low band.

    Shape: mixture (B, T), masked magnitudes (B, 4, F, N), trust in every harmonic (B, 4, K, N), pitches and voicing
    (B, 4, N) -> pitches (B, 4, N), voices (B, 4, T / 4) at a quarter of the rate.
    T is a multiple of the hop. Pitches learn nothing from it.
    """

    def __init__(self, sample_rate: int, hop_length: int, bin_width_hz: float, mending_steps: int = 2) -> None:
        super().__init__()
        self.bin_width_hz = bin_width_hz
        self.mending_steps = mending_steps
        self.mending_band = LowBand(MENDING_BAND.decimation)
        self.splitting_band = LowBand(SPLITTING_BAND.decimation)
        self.short = SineFit(MENDING_BAND, 4, 1, hop_length, sample_rate)
        self.long = SineFit(SPLITTING_BAND, 8, 2, hop_length, sample_rate)

    def forward(
        self, mixture: Tensor, spectra: Tensor, trust: Tensor, f0_hz: Tensor, voicing: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            low = self.mending_band(mixture)
            for _ in range(self.mending_steps):
                prior = self.short.prior(spectra, trust, f0_hz, voicing, self.bin_width_hz)
                f0_hz = self.short.mend(low, f0_hz, voicing, prior)
        low = self.splitting_band(mixture)
        prior = self.long.prior(spectra, trust, f0_hz, voicing, self.bin_width_hz)
        return f0_hz, self.long.voices(self.long.system(low, f0_hz, prior, SPLITTING_NOISE), low.shape[1])


class LowBand(nn.Module):
    """The low end of a signal, where partials collide, at a fraction of its rate, by a linear-phase filter.

    Shape: (B, T) -> (B, T / decimation).
    """

    taps: Tensor

    def __init__(self, decimation: int) -> None:
        super().__init__()
        self.decimation = decimation
        reach = 8 * decimation
        time = torch.arange(-reach, reach + 1, dtype=torch.float64)
        window = torch.kaiser_window(2 * reach + 1, periodic=False, beta=7.0, dtype=torch.float64)
        taps = torch.sinc(time / decimation) * window
        self.register_buffer("taps", (taps / taps.sum()).float()[None, None], persistent=False)
        self.reach = reach

    def forward(self, signal: Tensor) -> Tensor:
        padded = functional.pad(signal[:, None], (self.reach, self.reach - self.decimation + 1))
        return functional.conv1d(padded, self.taps, stride=self.decimation)[:, 0]


class SineFit(nn.Module):
    """Sines at multiples of all pitches, fitted to windowed frames of one length.

    All times are in samples of the decimated signal. In shapes, `P` is the number of partials of all voices, `M` of
    frames, `W` the frame length, `L` the number of track frames: `track_hop` samples apart, as pitches and priors come.
    """

    window: Tensor
    time: Tensor
    membership: Tensor
    order: Tensor
    harmonics: Tensor
    slope: Tensor

    def __init__(self, band: SineBand, frame_hops: int, stride: int, track_hop: int, sample_rate: int) -> None:
        super().__init__()
        self.band = band
        self.track_hop = track_hop // band.decimation
        self.sample_rate = sample_rate / band.decimation
        self.stride = stride
        self.frame_length = frame_length = frame_hops * self.track_hop
        owner = torch.cat([torch.full((count,), voice) for voice, count in enumerate(band.counts)])
        window = torch.hann_window(frame_length)
        self.energy = float(window.square().sum()) / 2
        """Of a windowed sine of amplitude 1."""
        time = (torch.arange(frame_length) - frame_length // 2) / self.sample_rate
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("time", time, persistent=False)
        self.register_buffer("membership", functional.one_hot(owner).T.float().contiguous(), persistent=False)
        order = torch.cat([torch.arange(1, count + 1) for count in band.counts]).float()
        longest = torch.arange(1, max(band.counts) + 1).float()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("harmonics", longest[:, None], persistent=False)
        self.register_buffer("slope", torch.arange(self.track_hop) / self.track_hop, persistent=False)

    def frames(self, signal: Tensor, mode: str) -> Tensor:
        """Centred frames, not windowed; the first on the first sample. Shape: (B, V, T) -> (B, M, V, W)."""
        half = self.frame_length // 2
        padded = functional.pad(signal, (half, half), mode=mode)
        blocks = padded.reshape(signal.shape[0], signal.shape[1], -1, self.track_hop)
        overlap = self.frame_length // self.track_hop
        last = blocks.shape[2] - overlap + 1
        return torch.cat([blocks[:, :, j : j + last : self.stride] for j in range(overlap)], dim=3).transpose(1, 2)

    def overlap_add(self, frames: Tensor, length: int) -> Tensor:
        """Inverse of `frames` for windowed frames: weighted again by the window. Shape: (B, M, V, W) -> (B, V, T)."""
        coverage = torch.ones_like(frames[:1, :, :1, :1]) * self.window.square()
        total = self._sum(frames * self.window) / self._sum(coverage).clamp(min=1e-3)
        half = self.frame_length // 2
        return total[:, :, half : half + length]

    def _sum(self, frames: Tensor) -> Tensor:
        overlap = self.frame_length // self.track_hop
        blocks = frames.transpose(1, 2).reshape(frames.shape[0], frames.shape[2], -1, 1, overlap, self.track_hop)
        # Frames that were skipped count as silent ones.
        blocks = functional.pad(blocks, (0, 0, 0, 0, 0, self.stride - 1)).flatten(2, 3)
        total = functional.pad(blocks[:, :, :, 0], (0, 0, 0, overlap - 1))
        for j in range(1, overlap):
            total = total + functional.pad(blocks[:, :, :, j], (0, 0, j, overlap - 1 - j))
        return total.flatten(2)

    def waves(self, f0_hz: Tensor) -> list[Tensor]:
        """Windowed cosines, then sines, of every partial, in phase 0 at the centre.

        Shape: (B, 4, L) in Hz -> 2P times (B, M, W).
        """
        between = f0_hz[:, :, :-1, None] * (1 - self.slope) + f0_hz[:, :, 1:, None] * self.slope
        cycles = torch.cumsum(self.frames(between.flatten(2), "replicate"), dim=3)
        centre = self.frame_length // 2
        phase = (2 * math.pi / self.sample_rate) * (cycles - cycles[..., centre : centre + 1])
        cos, sin = torch.cos(phase), torch.sin(phase)
        cosines, sines = [], []
        for voice, count in enumerate(self.band.counts):
            real, imag = self.window * cos[:, :, voice], self.window * sin[:, :, voice]
            for _ in range(count):
                cosines.append(real)
                sines.append(imag)
                # The next harmonic by the addition theorem: far cheaper than a cosine.
                real, imag = (
                    real * cos[:, :, voice] - imag * sin[:, :, voice],
                    imag * cos[:, :, voice] + real * sin[:, :, voice],
                )
        return cosines + sines

    def prior(self, spectra: Tensor, trust: Tensor, f0_hz: Tensor, voicing: Tensor, bin_width_hz: float) -> Tensor:
        """Power that masked magnitudes (B, 4, F, L), weighted by trust (B, 4, K, L), give to every partial.

        Shape: (B, P, L).
        """
        powers = []
        for voice, count in enumerate(self.band.counts):
            partial_hz = f0_hz[:, voice, None] * self.harmonics[:count]
            amplitude = sample(spectra[:, voice], partial_hz[:, None] / bin_width_hz)[:, 0]
            audible = torch.clamp((self.band.highest_hz - partial_hz) / FADE_HZ, 0.0, 1.0) * voicing[:, voice, None]
            powers.append(0.5 * (audible * amplitude * trust[:, voice, :count]).square())
        return torch.cat(powers, dim=1)

    def at_centres(self, tracks: Tensor) -> Tensor:
        """Values of the frames' centres. Shape: (B, P, L) -> (B, M, P)."""
        return tracks[:, :, :: self.stride].transpose(1, 2)

    def system(self, low: Tensor, f0_hz: Tensor, prior: Tensor, noise: float) -> SineSystem:
        """The least-squares problem of every frame.

        Shape: mixture (B, T), pitches (B, 4, L) in Hz, prior power of every partial's amplitude (B, P, L).
        """
        frames = self.frames(low[:, None], "constant")[:, :, 0] * self.window
        rows = torch.stack([*self.waves(f0_hz), frames], dim=2)
        power = self.at_centres(prior) + QUIETEST_POWER
        deviation = torch.sqrt(torch.cat([power, power], dim=2))[..., None]
        products = torch.matmul(rows, rows.transpose(2, 3)) / self.energy
        gram, right = products[:, :, :-1, :-1], products[:, :, :-1, -1:]
        unexplained = noise * products[:, :, -1:, -1:] + QUIETEST_POWER
        return SineSystem(rows, gram, right, deviation, unexplained)

    def voices(self, system: SineSystem, length: int) -> Tensor:
        """What each voice sings of the low band. Shape: (B, 4, length)."""
        owners = torch.cat([self.membership, self.membership], dim=1)
        amplitudes = system.solve(system.right, SPLITTING_STEPS).transpose(2, 3) * owners
        return self.overlap_add(system.weighted(amplitudes), length)

    def mend(self, low: Tensor, f0_hz: Tensor, voicing: Tensor, prior: Tensor) -> Tensor:
        """One Gauss-Newton step of every pitch. Shape: as `system`, voicing (B, 4, L) -> (B, 4, L).

        Needs a frame for every track frame: hop_length = track_hop.
        """
        system = self.system(low, f0_hz, prior, MENDING_NOISE)
        amplitudes = system.solve(system.right, MENDING_STEPS)
        # Derivative of the model by each pitch, in cents: a partial's phase moves by 2 pi t f ln 2 / 1200.
        partial_hz = self.at_centres(torch.matmul((self.membership * self.order).T, f0_hz))
        count = self.membership.shape[1]
        rate = (2 * math.pi * math.log(2) / 1200) * partial_hz
        by_cos, by_sin = amplitudes[:, :, :count, 0] * rate, amplitudes[:, :, count:, 0] * rate
        slopes = torch.cat([by_sin[:, :, None] * self.membership, -by_cos[:, :, None] * self.membership], dim=3)
        explained = system.weighted(torch.cat([amplitudes.transpose(2, 3), slopes], dim=2))
        residual, slopes = system.rows[:, :, -1:] - explained[:, :, :1], explained[:, :, 1:] * self.time
        # What other amplitudes could explain is no evidence for another pitch.
        likeness = torch.matmul(system.rows, slopes.transpose(2, 3))[:, :, :-1] / self.energy
        excused = system.solve(likeness, EXCUSING_STEPS)
        slopes = slopes - system.weighted(excused.transpose(2, 3))
        unsure = 8 * residual.square().mean(3, keepdim=True) / PITCH_DEVIATION_CENTS**2 + 1e-7
        normal = torch.matmul(slopes, slopes.transpose(2, 3)) + unsure * torch.eye(4, device=low.device)
        cents = conjugate_gradients(normal, torch.matmul(slopes, residual.transpose(2, 3)), 4)[..., 0].transpose(1, 2)
        cents = torch.clamp(cents, -LONGEST_STEP_CENTS, LONGEST_STEP_CENTS) * torch.clamp(5 * voicing - 1, 0.0, 1.0)
        held = functional.pad(cents, (1, 1), mode="replicate")
        smooth = 0.25 * held[:, :, :-2] + 0.5 * cents + 0.25 * held[:, :, 2:]
        return f0_hz * torch.exp(smooth * (math.log(2) / 1200))


@dataclass(frozen=True)
class SineSystem:
    """Frames as sums of waves: `rows` (B, M, 2P + 1, W), the waves and, last, the frame; products of waves
    (B, M, 2P, 2P) and of waves and frame (B, M, 2P, 1), the prior deviation of each amplitude (B, M, 2P, 1) and the
    power of what is no partial (B, M, 1, 1), all against the energy of a wave.

    Waves and frame stand in one array because every product passes through all of it: fewer passes, not fewer
    multiplications, are what saves time.
    """

    rows: Tensor
    gram: Tensor
    right: Tensor
    deviation: Tensor
    unexplained: Tensor

    def weighted(self, weights: Tensor) -> Tensor:
        """Sums of waves. Shape: (B, M, R, 2P) -> (B, M, R, W)."""
        return torch.matmul(functional.pad(weights, (0, 1)), self.rows)

    def solve(self, right: Tensor, steps: int) -> Tensor:
        """(G + unexplained / deviation²)⁻¹ right: for `right` the posterior means of the amplitudes, cosines first.

        Shape: (B, M, 2P, R) -> (B, M, 2P, R).
        """
        identity = torch.eye(self.gram.shape[3], device=right.device)
        matrix = self.gram * self.deviation * self.deviation.transpose(2, 3) + self.unexplained * identity
        return self.deviation * conjugate_gradients(matrix, self.deviation * right, steps)


def conjugate_gradients(matrix: Tensor, right: Tensor, steps: int) -> Tensor:
    """Solve symmetric positive systems, preconditioned by their diagonals (Hestenes and Stiefel, 1952).

    Shape: (..., n, n), (..., n, R) -> (..., n, R).
    """
    scale = torch.rsqrt(torch.diagonal(matrix, dim1=-2, dim2=-1))[..., None]
    matrix = matrix * scale * scale.transpose(-2, -1)
    residual = right * scale
    solution = torch.zeros_like(residual)
    direction = residual
    power = residual.square().sum(-2, keepdim=True)
    for _ in range(steps):
        turned = torch.matmul(matrix, direction)
        step = power / ((direction * turned).sum(-2, keepdim=True) + 1e-20)
        solution = solution + step * direction
        residual = residual - step * turned
        new_power = residual.square().sum(-2, keepdim=True)
        direction = residual + new_power / (power + 1e-20) * direction
        power = new_power
    return solution * scale
