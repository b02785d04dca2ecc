"""Ratio masks: how estimates of every voice's spectrum share out the spectrum of the mixture, phases included."""

import torch
from torch import Tensor, nn

from divisi_workshop.networks.spectral import ShortTimeFourier

LEAST_SUM = 1e-12


def ratio_masks(magnitudes: Tensor, exponent: float = 1.0) -> Tensor:
    """Shares of magnitude estimates (B, S, F, N) that are not negative; they sum to 1 wherever anything sounds."""
    weights = magnitudes if exponent == 1.0 else magnitudes**exponent
    return weights / (weights.sum(1, keepdim=True) + LEAST_SUM)


class RatioMaskSeparation(nn.Module):
    """The mixture divided by the spectra of synthesised voices.

    Shape: mixture (B, T), voices (B, S, T) -> (B, S, T). The published masks have exponent 1; steeper ones separate
    better (see the model cards).
    """

    def __init__(self, window_length: int = 2048, hop_length: int = 256, exponent: float = 1.0) -> None:
        super().__init__()
        self.fourier = ShortTimeFourier(window_length, hop_length)
        self.exponent = exponent

    def forward(self, mixture: Tensor, voices: Tensor) -> Tensor:
        # One transform for mixture and voices, the mixture first: the exporter follows the batch of the graph's input,
        # but takes that of synthesised voices for fixed.
        real, imag = self.fourier.analyse(torch.cat([mixture, voices.flatten(0, 1)]))
        batch = mixture.shape[0]
        power = (real[batch:].square() + imag[batch:].square()).unflatten(0, (-1, voices.shape[1]))
        real, imag = real[:batch], imag[:batch]
        masks = ratio_masks(power, self.exponent / 2)
        waves = self.fourier.synthesise((masks * real[:, None]).flatten(0, 1), (masks * imag[:, None]).flatten(0, 1))
        return waves.unflatten(0, (-1, voices.shape[1]))
