"""The vocal tract of a source-filter voice: an all-pole filter per frame, from line spectral frequencies.

Frequencies that rise from 0 to π always give a stable filter (Itakura, 1975). Computed in double precision.
"""

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTER_ORDER = 20


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
