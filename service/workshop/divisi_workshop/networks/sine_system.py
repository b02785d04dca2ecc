"""Least squares with a prior: how much of every sine there is in a frame. The algebra of `sine_fit`."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SPLITTING_STEPS, MENDING_STEPS, EXCUSING_STEPS = 10, 6, 2
"""Of the solver, by what is solved; more change nothing that can be measured."""


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

    def amplitudes(self, steps: int) -> Tensor:
        """Posterior means, cosines before sines. Shape: (B, M, 2P, 1)."""
        return self.solve(self.right, steps)

    def weighted(self, weights: Tensor) -> Tensor:
        """Sums of waves. Shape: (B, M, R, 2P) -> (B, M, R, W)."""
        return torch.matmul(functional.pad(weights, (0, 1)), self.rows)

    def solve(self, right: Tensor, steps: int) -> Tensor:
        """(G + unexplained / deviation²)⁻¹ right. Shape: (B, M, 2P, R) -> (B, M, 2P, R)."""
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
