"""Least squares with a prior: how much of every sine there is in a frame. The algebra of `sine_fit`."""

from dataclasses import dataclass

import torch
from torch import Tensor

SOLVER_STEPS = 10
"""More change nothing that can be measured."""


@dataclass(frozen=True)
class SineSystem:
    """Frames (B, M, 1, W) as sums of waves (B, M, 2P, W); their products (B, M, 2P, 2P), the prior deviation of each
    amplitude (B, M, 2P, 1) and the power of what is no partial (B, M, 1, 1), both against `energy`.
    """

    frames: Tensor
    waves: Tensor
    gram: Tensor
    deviation: Tensor
    unexplained: Tensor
    energy: float

    def solve(self, right: Tensor) -> Tensor:
        """(G + unexplained / deviation²)⁻¹ right. Shape: (B, M, 2P, R) -> (B, M, 2P, R)."""
        identity = torch.eye(self.gram.shape[3], device=right.device)
        matrix = self.gram * self.deviation * self.deviation.transpose(2, 3) + self.unexplained * identity
        return self.deviation * conjugate_gradients(matrix, self.deviation * right, SOLVER_STEPS)


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
