"""Harmonic constant-Q transform: what the multi-F0 network reads (Bittner et al., 2017), as strided convolutions.

One constant-Q transform per harmonic h = 1..5, its lowest bin at h times the lowest pitch, so that bin k of all of them
belongs to the same pitch. Kernels are Hann-windowed complex sines, L1-normalised; outputs are scaled by the square root
of the kernel's length (Schörkhuber and Klapuri, 2010). Every octave is analysed at the lowest rate that carries it, and
octaves which several harmonics share are computed once.
"""

import dataclasses
import math
from math import ceil, floor, pi

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.config import STRICT

FLOOR_DB = 80.0
"""Levels further below the loudest bin are raised to this."""
QUIETEST = 1e-5
"""Magnitude that silence is raised to before logarithms."""


@dataclass(frozen=True, config=STRICT)
class HcqtConfig:
    """The defaults are the published front end. Frequencies in Hz, lengths in samples at `sample_rate`."""

    sample_rate: int = 22_050
    hop_length: int = 256
    lowest_hz: float = 32.7
    bins_per_octave: int = 60
    bin_count: int = 360
    harmonic_count: int = 5
    reflects_edges: bool = True
    """Mirror the signal at its ends; needs segments longer than the lowest kernel. Otherwise zeros surround it."""
    batch_reference: bool = False
    """Published defect: decibels relative to the loudest bin of the whole batch, so that recordings which happen to
    be processed together change each other. Otherwise relative to the loudest of the example."""
    half_kernels: bool = False
    """Kernels rounded to what float16 holds, 70 dB below themselves: half the bytes in an artifact."""


@dataclasses.dataclass(frozen=True)
class OctaveGroup:
    """Bins analysed together: at which halving of the rate, and how many."""

    halvings: int
    bin_count: int
    kernels: str
    """Name of the buffer. Octaves of one family look alike to the lower rates and share their kernels."""


class Hcqt(nn.Module):
    """Signal -> complex transform, and from it levels and phase steps.

    Shape: (B, T) at `input_rate` -> real and imaginary parts (B, H, K, N), H harmonics, K bins, N = T' / hop_length
    frames, T' the length at the front end's own rate; frame n is centred on sample n · hop_length.
    """

    def __init__(self, config: HcqtConfig, input_rate: int = 16_000) -> None:
        super().__init__()
        self.config = config
        self.resample: nn.Module | None = None
        if config.sample_rate != input_rate:
            self.resample = RationalResampler(input_rate, config.sample_rate)
        self.halve = Halver()
        # Harmonics that lie whole octaves apart are views of one transform.
        self.families: list[tuple[list[tuple[int, int]], list[OctaveGroup]]] = []
        for odd in range(1, config.harmonic_count + 1, 2):
            shifts = [
                (odd << octave, octave * config.bins_per_octave)
                for octave in range(8)
                if odd << octave <= config.harmonic_count
            ]
            self.families.append((shifts, self._plan(odd, shifts[-1][1] + config.bin_count)))

    def _plan(self, odd: int, bin_count: int) -> list[OctaveGroup]:
        """Octaves from the top down, each at the lowest rate whose pass band holds it, and their kernels."""
        config = self.config
        groups = []
        end = bin_count
        while end > 0:
            first = max(end - config.bins_per_octave, 0)
            lowest_hz = odd * config.lowest_hz * 2 ** (first / config.bins_per_octave)
            top_hz = odd * config.lowest_hz * 2 ** ((end - 1) / config.bins_per_octave)
            halvings = 0
            while (
                top_hz * (1 + 2 / self._quality) <= Halver.PASSBAND * config.sample_rate / 2 ** (halvings + 2)
                and config.hop_length % 2 ** (halvings + 1) == 0
            ):
                halvings += 1
            rate = config.sample_rate / 2**halvings
            name = f"kernels_{odd}_{round(1e6 * lowest_hz / rate)}_{end - first}"
            if not hasattr(self, name):
                self.register_buffer(name, self._kernels(lowest_hz / rate, end - first), persistent=False)
            groups.append(OctaveGroup(halvings, end - first, name))
            end = first
        return groups[::-1]

    @property
    def _quality(self) -> float:
        """Frequency over bandwidth of every bin."""
        return 1 / (2 ** (1 / self.config.bins_per_octave) - 1)

    def _kernels(self, lowest: float, bin_count: int) -> Tensor:
        """Real and imaginary kernels, one after the other, from the lowest frequency in cycles a sample.

        Bins above the Nyquist frequency stay silent. Shape: (2 · bins, 1, W).
        """
        frequencies = [lowest * 2 ** (k / self.config.bins_per_octave) for k in range(bin_count)]
        half = ceil(self._quality / lowest / 2) + 1
        kernels = torch.zeros(2, bin_count, 2 * half, dtype=torch.float64)
        for index, frequency in enumerate(frequencies):
            if frequency >= 0.5:
                continue
            length = self._quality / frequency
            times = torch.arange(floor(-length / 2), floor(length / 2), dtype=torch.float64)
            window = torch.hann_window(len(times), dtype=torch.float64)
            window = window / window.sum() * length**0.5
            place = slice(half + int(times[0]), half + int(times[0]) + len(times))
            kernels[0, index, place] = window * torch.cos(2 * pi * frequency * times)
            kernels[1, index, place] = -window * torch.sin(2 * pi * frequency * times)
        flat = kernels.flatten(0, 1)[:, None]
        return flat.half().float() if self.config.half_kernels else flat.float()

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        if self.resample is not None:
            signal = self.resample(signal)
        frame_count = signal.shape[1] // self.config.hop_length
        most = max(group.halvings for _, groups in self.families for group in groups)
        signals = [signal]
        for _ in range(most):
            signals.append(self.halve(signals[-1]))
        reals: dict[int, Tensor] = {}
        imags: dict[int, Tensor] = {}
        for shifts, groups in self.families:
            parts = [self._analyse(signals[group.halvings], group, frame_count) for group in groups]
            real, imag = torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)
            for harmonic, first in shifts:
                reals[harmonic] = real[:, first : first + self.config.bin_count]
                imags[harmonic] = imag[:, first : first + self.config.bin_count]
        order = range(1, self.config.harmonic_count + 1)
        return torch.stack([reals[h] for h in order], dim=1), torch.stack([imags[h] for h in order], dim=1)

    def _analyse(self, signal: Tensor, group: OctaveGroup, frame_count: int) -> tuple[Tensor, Tensor]:
        """Shape: (B, T / 2^halvings) -> twice (B, bins, N)."""
        kernels: Tensor = getattr(self, group.kernels)
        half = kernels.shape[2] // 2
        mode = "reflect" if self.config.reflects_edges else "constant"
        padded = functional.pad(signal[:, None], (half, half), mode=mode)
        frames = functional.conv1d(padded, kernels, stride=self.config.hop_length // 2**group.halvings)
        # Lengths count in samples of the full rate.
        frames = 2 ** (group.halvings / 2) * frames[:, :, :frame_count]
        return frames[:, : group.bin_count], frames[:, group.bin_count :]

    def levels_db(self, real: Tensor, imag: Tensor) -> Tensor:
        """Level of every bin against the loudest of its harmonic, −80..0 dB. Shape: twice (B, H, K, N) -> the same."""
        power = real.square() + imag.square()
        axes = (0, 2, 3) if self.config.batch_reference else (2, 3)
        loudest = power.amax(dim=axes, keepdim=True)
        scale = 10 / torch.log(torch.tensor(10.0))
        level = scale * (torch.log(power.clamp(min=QUIETEST**2)) - torch.log(loudest.clamp(min=QUIETEST**2)))
        return level.clamp(min=-FLOOR_DB)

    def phase_steps(self, real: Tensor, imag: Tensor) -> Tensor:
        """First difference along time of the unwrapped phase, the first frame as it is. Shape: (B, H, K, N).

        Of the phase as the published networks take it, real and imaginary parts exchanged: it falls where the usual one
        rises.
        """
        before_real, before_imag = real[..., :-1], imag[..., :-1]
        now_real, now_imag = real[..., 1:], imag[..., 1:]
        step = torch.atan2(
            before_imag * now_real - before_real * now_imag, before_real * now_real + before_imag * now_imag
        )
        return torch.cat([torch.atan2(real[..., :1], imag[..., :1]), step], dim=3)

    def frequencies_hz(self) -> Tensor:
        """Pitch of every bin. Shape: (K,), float64."""
        bins = torch.arange(self.config.bin_count, dtype=torch.float64)
        return self.config.lowest_hz * 2 ** (bins / self.config.bins_per_octave)


class RationalResampler(nn.Module):
    """Resampling by up/down, band-limited to the lower of the two rates.

    One block of `down_count` samples goes to one of `up_count`: every output sample of a block is an inner product with
    the samples around it.

    Shape: (B, T) -> (B, floor(T / down_count) · up_count).
    """

    filters: Tensor

    def __init__(self, from_rate: int, to_rate: int, zero_crossings: int = 32, passband: float = 0.96) -> None:
        super().__init__()
        common = math.gcd(from_rate, to_rate)
        self.up_count, self.down_count = to_rate // common, from_rate // common
        cutoff = passband * min(1.0, to_rate / from_rate)
        self.margin = math.ceil(zero_crossings / cutoff)
        places = torch.arange(self.up_count, dtype=torch.float64) * (self.down_count / self.up_count)
        taps = torch.arange(-self.margin, self.down_count + self.margin, dtype=torch.float64)
        distance = taps[None] - places[:, None]
        window = torch.cos(math.pi / 2 * torch.clamp(distance / self.margin, -1, 1)).square()
        filters = cutoff * torch.sinc(cutoff * distance) * window
        self.register_buffer("filters", filters.float()[:, None], persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        padded = functional.pad(signal, (self.margin, self.margin))
        blocks = functional.conv1d(padded[:, None], self.filters, stride=self.down_count)
        return blocks.transpose(1, 2).flatten(1)


class Halver(nn.Module):
    """Half the sample rate; flat to `PASSBAND` of the new Nyquist frequency, aliases 100 dB down below it.

    Sample n of the result is aligned with sample 2 n of the signal. Shape: (B, T) -> (B, ceil(T / 2)).
    """

    PASSBAND = 0.8
    _HALF_LENGTH = 40
    _BETA = 10.06  # Kaiser window, 100 dB

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        places = torch.arange(-self._HALF_LENGTH, self._HALF_LENGTH + 1, dtype=torch.float64)
        window = torch.kaiser_window(len(places), periodic=False, beta=self._BETA, dtype=torch.float64)
        self.register_buffer("taps", (0.5 * torch.sinc(places / 2) * window).float()[None, None], persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        padded = functional.pad(signal[:, None], (self._HALF_LENGTH, self._HALF_LENGTH))
        return functional.conv1d(padded, self.taps, stride=2)[:, 0]
