"""What each source of a fit brings to each microphone, for some frequencies: never far louder than what was recorded.

The multichannel Wiener estimate (section III-D of the paper in `fast_mnmf`): image c is
sum_m [Q^-1]_cm (λ g_m / y_m) (Q x)_m. All images together are the recording, but where the matrix is nearly singular or
the model fits badly one may be many times as loud, and the others its opposite. There each source takes the share of
every microphone that the model gives it, which again sums up to the recording and can be no louder.

Compiled by torch.jit.script. Axes as in `fast_mnmf`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def image_of(source: int, spectra: Tensor, diagonaliser: Tensor, powers: Tensor, loudest: float = 4.0) -> Tensor:
    """The image of one source.

    Args:
        source: its place.
        spectra: complex128 (F, C, N), the recording.
        diagonaliser: complex128 (F, C, C), Q.
        powers: float64 (S, F, C, N), λ g of every source, above 0: in channels, not at microphones.
        loudest: power of an image to that of the recording, over all microphones of a bin. Sources that partly cancel
            each other are louder than their sum, but seldom twice as loud at all microphones at once.

    Returns:
        complex128 (F, C, N).
    """
    behind = torch.bmm(diagonaliser, spectra) / powers.sum(0)
    spread = torch.linalg.inv(diagonaliser)
    spread_powers = _power(spread)
    most = loudest * _power(spectra).sum(1)
    is_too_loud = torch.zeros_like(most, dtype=torch.bool)
    levels = torch.zeros_like(powers[source])
    for place in range(powers.shape[0]):
        image = torch.bmm(spread, behind * powers[place])
        # Of all sources, so that they take their shares in the same bins. What is not finite is too loud.
        is_too_loud |= (_power(image).sum(1) <= most).logical_not()
        levels += torch.bmm(spread_powers, powers[place])
    image = torch.bmm(spread, behind * powers[source])
    shared = spectra * (torch.bmm(spread_powers, powers[source]) / levels)
    return torch.where(is_too_loud[:, None], shared, image)


def _power(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square()
