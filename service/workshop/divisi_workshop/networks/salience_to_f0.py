"""From the salience of a voice to its F0, in the six published ways and in one that mends them.

The hard part is what gradients see. The published `reconstruction` hands every bin the same gradient: only "up" or
"down", never which bin. `refined` takes the top of the ridge at the best bin; its gradient knows where to go.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

SIGMOID_SLOPE = 1000.0
GRADIENT_LIMIT = 1000.0
STEPS_PER_BIN = 4
"""`refined` gives pitches in quarters of a bin: fine enough, and rounding differences between runtimes seldom show."""
RIDGE_OVER_CENTRE = 1.85
"""How far from the middle bin the top of a Gaussian ridge of deviation 1 lies, against the centre of mass of three
bins: 1.84 a quarter of a bin away, 1.87 half a bin away."""


class Link(StrEnum):
    """How the salience of a voice becomes its F0. `refined` is ours, the others are published."""

    RECONSTRUCTION = "reconstruction"
    SIGMOID = "sigmoid"
    STE = "ste"
    AMPLITUDE = "amplitude"
    THRESHOLD = "threshold"
    SOFTMAX = "softmax"
    REFINED = "refined"


@dataclass(frozen=True)
class LinkConfig:
    """The defaults are the published link; thresholds are those of soprano, alto, tenor and bass."""

    link: Link = Link.RECONSTRUCTION
    thresholds: tuple[float, ...] = (0.23, 0.17, 0.15, 0.17)
    sums_low_bins: bool = True
    """Published defect: bins whose frequencies have the same integer part are taken for one and summed, so that basses
    below 76 Hz come out up to two octaves high."""


class Step(torch.autograd.Function):
    """1 above the threshold; gradients pass as if it were the identity, within limits."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, threshold: Tensor) -> Tensor:
        return (values >= threshold).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].clamp(-GRADIENT_LIMIT, GRADIENT_LIMIT), None


class SalienceToF0(nn.Module):
    """Salience of every voice (B, V, K, N) -> F0 (B, V, N) in Hz, 0 where unvoiced."""

    frequencies: Tensor
    hard_hz: Tensor
    alike: Tensor
    fine_hz: Tensor
    thresholds: Tensor

    def __init__(self, frequencies_hz: Tensor, config: LinkConfig = LinkConfig()) -> None:
        super().__init__()
        self.config = config
        integers = torch.floor(frequencies_hz)
        same = integers[:, None] == integers[None] if config.sums_low_bins else torch.eye(len(frequencies_hz)) > 0
        self.register_buffer("frequencies", frequencies_hz.float(), persistent=False)
        self.register_buffer("alike", same.float(), persistent=False)
        self.register_buffer("hard_hz", (same.double() @ frequencies_hz).float(), persistent=False)
        self.register_buffer("fine_hz", fine_frequencies_hz(frequencies_hz), persistent=False)
        self.register_buffer("thresholds", torch.tensor(config.thresholds)[None, :, None], persistent=False)

    def forward(self, salience: Tensor) -> Tensor:
        peak, best = salience.max(dim=2)
        voiced = (peak >= self.thresholds) & (best > 0)
        hard = self.hard_hz[best] * voiced
        match self.config.link:
            case Link.RECONSTRUCTION:
                # Equal to `hard`, with gradient 1 for every bin.
                return hard + (salience - salience.detach()).sum(2)
            case Link.SIGMOID:
                return torch.sigmoid(SIGMOID_SLOPE * (peak - self.thresholds)) * hard
            case Link.STE:
                return Step.apply(peak, self.thresholds) * hard
            case Link.AMPLITUDE:
                return peak / peak * hard
            case Link.THRESHOLD:
                return peak * (peak >= self.thresholds) * hard
            case Link.SOFTMAX:
                return (salience * self.frequencies[:, None]).sum(2)
            case _:
                return refine(salience, best, self.fine_hz) * voiced

    def one_hot(self, salience: Tensor) -> Tensor:
        """The map that the commitment loss pulls towards: 1 at the chosen bins, nothing where unvoiced."""
        peak, best = salience.max(dim=2)
        voiced = (peak >= self.thresholds) & (best > 0)
        return (self.alike[best] * voiced[..., None]).transpose(2, 3)


def fine_frequencies_hz(frequencies_hz: Tensor) -> Tensor:
    """Pitches at quarters of a bin, from half a bin below the first. Shape: float64 (K,) -> float32 (4 K + 1,)."""
    ratio = torch.log2(frequencies_hz[1] / frequencies_hz[0])
    count = STEPS_PER_BIN * len(frequencies_hz) + 1
    position = torch.arange(count, dtype=torch.float64) / STEPS_PER_BIN - 0.5
    return (frequencies_hz[0] * 2 ** (position * ratio)).float()


def refine(salience: Tensor, best: Tensor, fine_hz: Tensor) -> Tensor:
    """Where the ridge at bins `best` has its top, to a quarter of a bin; gradients are those of the centre of mass.

    Networks learn Gaussian ridges, of which three bins show the middle: their centre of mass moves little more than
    half as far as the top. (The parabola through their logarithms is as good, and hears rounding in the outer two.)

    Shape: (…, K, N), (…, N) -> (…, N).
    """
    bin_count = salience.shape[-2]
    index = torch.stack([(best + offset).clamp(0, bin_count - 1) for offset in (-1, 0, 1)], dim=-2)
    weights = torch.gather(salience, salience.dim() - 2, index) + 1e-9
    centre = (weights * (index - best.unsqueeze(-2))).sum(-2) / weights.sum(-2)
    top = (RIDGE_OVER_CENTRE * centre).clamp(-0.5, 0.5)
    step = torch.round(STEPS_PER_BIN * top).long() + STEPS_PER_BIN * best + STEPS_PER_BIN // 2
    found = fine_hz[step]
    if not centre.requires_grad:
        return found
    per_bin = torch.log(fine_hz[STEPS_PER_BIN] / fine_hz[0])
    return found * torch.exp(per_bin * (centre - centre.detach()))
