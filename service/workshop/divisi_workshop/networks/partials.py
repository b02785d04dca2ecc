"""Partials told apart by their phases: what no mask can do where two voices share a bin. Third stage of `chorus`.

Two partials a few hertz apart fill the same bins, and a mask can only scale what they are together. Over a quarter of a
second, though, each turns at its own rate, and the pitches say at which. So the low band of the mixture is written,
frame by frame, as a sum of sines at the multiples of every voice's pitch, each with an unknown complex amplitude whose
prior power comes from the masks. The posterior mean of the amplitudes (regularised least squares, a Wiener filter
between sines) is what each voice sings. Before that, the same model mends the pitches: Gauss-Newton steps move each
track to where its partials explain more of the mixture.

`sine_fit` holds the model of a frame and its equations, which are solved by a fixed number of conjugate
gradient steps, which every runtime can do.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.sine_fit import SineBand, SineFit

MENDING_BAND = SineBand(8, 850.0, (4, 5, 7, 11))
SPLITTING_BAND = SineBand(4, 1300.0, (5, 7, 10, 15))
"""Nearly all collisions that matter lie below."""
SPLITTING_NOISE = 3e-4
"""Share of a frame's power that is expected to be no partial."""


class PartialSplit(nn.Module):
    """Mixture and masked magnitudes -> mended pitches and what each voice sings of the low band.

    Shape: mixture (B, T), masked magnitudes (B, 4, F, N), trust in every harmonic (B, 4, K, N), pitches and voicing
    (B, 4, N) -> pitches (B, 4, N), voices (B, 4, T / 4) at a quarter of the rate; `splitting_band.up` brings them back.
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
            low = self.mending_band.down(mixture)
            for _ in range(self.mending_steps):
                prior = self.short.prior(spectra, trust, f0_hz, voicing, self.bin_width_hz)
                f0_hz = self.short.mend(low, f0_hz, voicing, prior)
        low = self.splitting_band.down(mixture)
        prior = self.long.prior(spectra, trust, f0_hz, voicing, self.bin_width_hz)
        return f0_hz, self.long.voices(self.long.system(low, f0_hz, prior, SPLITTING_NOISE), low.shape[1])


class LowBand(nn.Module):
    """The low end of a signal, where partials collide, at a fraction of its rate, and back: a linear-phase filter."""

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

    def down(self, signal: Tensor) -> Tensor:
        """Shape: (B, T) -> (B, T / decimation)."""
        padded = functional.pad(signal[:, None], (self.reach, self.reach - self.decimation + 1))
        return functional.conv1d(padded, self.taps, stride=self.decimation)[:, 0]

    def up(self, signal: Tensor) -> Tensor:
        """Shape: (B, V, T / decimation) -> (B, V, T)."""
        flat = signal.flatten(0, 1)[:, None]
        raised = functional.conv_transpose1d(flat, self.decimation * self.taps, stride=self.decimation)
        cut = raised[:, 0, self.reach : raised.shape[2] - self.reach + self.decimation - 1]
        return cut.reshape(signal.shape[0], signal.shape[1], -1)
