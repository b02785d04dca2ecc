"""The fixed and the estimated short filters of the source-filter voice: glottal roll-off and colour of the noise."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


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
