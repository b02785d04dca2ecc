"""Changes of sample rate inside a graph: whole ratios of small numbers, and halving. Used by the `hcqt` front end.

Both are strided convolutions with windowed sines, so that they export and run in one pass.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


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
