"""From saliences to the F0 of every voice: of a salience per voice, or of one for all, without learning.

`SalienceToF0` does the first, as published and mended. The hard part is what gradients see: the published
`reconstruction` gives every bin the same one, only "up" or "down", never which bin; `refined` takes the top of the
ridge at the best bin, and its gradient knows where to go. `HeuristicAssignment` does the second.
"""

from enum import StrEnum
from itertools import permutations

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from divisi_workshop.config import STRICT

STEPS_PER_BIN = 4
"""`refined` gives pitches in quarters of a bin: fine enough, and rounding differences between runtimes seldom show."""
RIDGE_OVER_CENTRE = 1.85
"""How far from the middle bin the top of a Gaussian ridge of deviation 1 lies, against the centre of mass of three
bins: 1.84 a quarter of a bin away, 1.87 half a bin away."""
REGISTERS_HZ = {2: (360.0, 190.0), 4: (440.0, 320.0, 230.0, 150.0)}
"""Where voices are thought to be before a frame says so."""


class Link(StrEnum):
    """How the salience of a voice becomes its F0: as published, or mended."""

    RECONSTRUCTION = "reconstruction"
    REFINED = "refined"


@dataclass(frozen=True, config=STRICT)
class LinkConfig:
    """The defaults are the published link; thresholds are those of soprano, alto, tenor and bass."""

    link: Link = Link.RECONSTRUCTION
    thresholds: tuple[float, ...] = (0.23, 0.17, 0.15, 0.17)
    sums_low_bins: bool = True
    """Published defect: bins whose frequencies have the same integer part are taken for one and summed, so that basses
    below 76 Hz come out up to two octaves high."""


class SalienceToF0(nn.Module):
    """Salience of every voice (B, V, K, N) -> F0 (B, V, N) in Hz, 0 where unvoiced."""

    hard_hz: Tensor
    alike: Tensor
    fine_hz: Tensor
    thresholds: Tensor

    def __init__(self, frequencies_hz: Tensor, config: LinkConfig = LinkConfig()) -> None:
        super().__init__()
        self.config = config
        integers = torch.floor(frequencies_hz)
        same = integers[:, None] == integers[None] if config.sums_low_bins else torch.eye(len(frequencies_hz)) > 0
        self.register_buffer("alike", same.float(), persistent=False)
        self.register_buffer("hard_hz", (same.double() @ frequencies_hz).float(), persistent=False)
        self.register_buffer("fine_hz", fine_frequencies_hz(frequencies_hz), persistent=False)
        self.register_buffer("thresholds", torch.tensor(config.thresholds)[None, :, None], persistent=False)

    def forward(self, salience: Tensor) -> Tensor:
        peak, best = salience.max(dim=2)
        voiced = (peak >= self.thresholds) & (best > 0)
        if self.config.link is Link.REFINED:
            return refine(salience, best, self.fine_hz) * voiced
        # The pitch itself, with gradient 1 for every bin.
        return self.hard_hz[best] * voiced + (salience - salience.detach()).sum(2)

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


@dataclass(frozen=True, config=STRICT)
class HeuristicConfig:
    """The defaults are the published procedure, except that it kept more peaks than voices for its permutations, at a
    cost that grows with the factorial; here the strongest of each frame stay.
    """

    voice_count: int = 4
    threshold: float = 0.5
    counts_missing_voices: bool = True
    """Published: a voice without a pitch is as far from its past as that is from 0 Hz, which makes it as cheap to shift
    all voices by one as to leave out the right one. Otherwise only sung pitches count, in whole bins."""
    refined: bool = False
    """Pitches between bins; otherwise bins."""


class HeuristicAssignment(nn.Module):
    """Salience (B, 1, K, N) -> F0 (B, V, N) in Hz, highest voice first, 0 where silent.

    Peaks go to voices by rank where every voice was detected; empty frames stay empty. The runs between are walked
    through from a full frame on, each frame taking the permutation of its pitches that moves least; a run with full
    frames on both sides is walked from both, and the cheaper walk is kept. A loop over frames, scripted so that it
    exports.

    Ties are no accident here: where two pitches lie on one side of the voices that may take them, crossing costs
    exactly as much as not crossing. The mended procedure therefore counts distances in whole bins, exact in any
    runtime, and of equal orders takes the first, in which voices cross least.
    """

    registers: Tensor
    orders: Tensor
    ranks: Tensor
    bins_hz: Tensor
    fine_hz: Tensor

    def __init__(self, frequencies_hz: Tensor, config: HeuristicConfig = HeuristicConfig()) -> None:
        super().__init__()
        self.config = config
        voices = config.voice_count
        registers_hz = REGISTERS_HZ.get(voices, tuple(440.0 * 2 ** (-index / 2) for index in range(voices)))
        registers = torch.tensor(registers_hz)
        orders = torch.tensor(list(permutations(range(voices))))
        # Less than the smallest difference of two costs, together; powers of two, so that sums stay exact.
        ranks = torch.arange(len(orders)) / 2.0 ** len(orders).bit_length()
        if config.counts_missing_voices:
            ranks = torch.zeros_like(ranks)
        else:
            octave = torch.log2(frequencies_hz[1] / frequencies_hz[0])
            position = torch.log2(registers.double() / frequencies_hz[0]) / octave
            registers = torch.round(position).float()
        self.register_buffer("registers", registers, persistent=False)
        self.register_buffer("orders", orders, persistent=False)
        self.register_buffer("ranks", ranks, persistent=False)
        self.register_buffer("bins_hz", frequencies_hz.float(), persistent=False)
        self.register_buffer("fine_hz", fine_frequencies_hz(frequencies_hz), persistent=False)

    def forward(self, salience: Tensor) -> Tensor:
        bins, f0_hz = self.detect(salience[:, 0])
        counts_missing = self.config.counts_missing_voices
        pitches = (f0_hz if counts_missing else bins.to(f0_hz.dtype)).transpose(1, 2)
        # Both directions in one loop.
        both = torch.cat([pitches, pitches.flip(1)])
        taken, cost = walk(both, self.orders, self.ranks, self.registers, counts_missing)
        forward, backward = taken.chunk(2)
        cost_forward, cost_backward = cost.chunk(2)
        chosen = self.choose(pitches, cost_forward, cost_backward.flip(1))
        taken = torch.where(chosen[:, :, None], forward, backward.flip(1)).transpose(1, 2)
        return torch.gather(f0_hz, 1, taken)

    def detect(self, salience: Tensor) -> tuple[Tensor, Tensor]:
        """The strongest peaks of every frame, highest first: their bins and pitches in Hz, 0 where there are fewer.

        Shape: (B, K, N) -> twice (B, V, N).
        """
        middle = salience[:, 1:-1]
        is_peak = (middle > salience[:, :-2]) & (middle >= salience[:, 2:]) & (middle >= self.config.threshold)
        strength = middle * is_peak
        strongest, index = strength.topk(self.config.voice_count, dim=1)
        bins = ((index + 1) * (strongest > 0)).sort(dim=1, descending=True).values
        if self.config.refined:
            f0_hz = refine(salience[:, None].expand(-1, self.config.voice_count, -1, -1), bins, self.fine_hz)
        else:
            f0_hz = self.bins_hz[bins]
        return bins, f0_hz * (bins > 0)

    def choose(self, detected: Tensor, cost_forward: Tensor, cost_backward: Tensor) -> Tensor:
        """Whether each frame takes the forward walk. Shape: (B, N, V), twice (B, N) -> (B, N)."""
        frame_count = detected.shape[1]
        sung = (detected > 0).sum(2)
        full = sung == self.config.voice_count
        safe = full | (sung == 0)
        frames = torch.arange(frame_count, device=detected.device)
        later = frames[None, :] >= frames[:, None]
        end = torch.where(later[None] & safe[:, None], frames, frame_count).amin(2)
        begin = torch.where(~later[None] & safe[:, None], frames, -1).amax(2)
        left_full = torch.gather(full, 1, begin.clamp(min=0)) & (begin >= 0)
        right_full = torch.gather(full, 1, end.clamp(max=frame_count - 1)) & (end < frame_count)
        total_forward = torch.gather(cost_forward, 1, (end - 1).clamp(min=0))
        total_backward = torch.gather(cost_backward, 1, (begin + 1).clamp(max=frame_count - 1))
        cheaper = total_forward <= total_backward
        return safe | (left_full & ~right_full) | ((left_full == right_full) & cheaper)


@torch.jit.script
def walk(
    detected: Tensor, orders: Tensor, ranks: Tensor, registers: Tensor, counts_missing: bool
) -> tuple[Tensor, Tensor]:
    """Carry every voice's last pitch along and give each frame's pitches to the voices that they move least.

    Pitches are bins, or Hz where missing voices count.

    Shape: pitches (B, N, V), highest first; permutations (V!, V) and what each costs by itself (V!,); starting pitches
    (V,). Returns which of its frame's pitches each voice takes (B, N, V), and the cost since the last frame that was
    full or empty (B, N).
    """
    voice_count = detected.shape[2]
    last = registers[None].expand(detected.shape[0], -1)
    cost = 0 * detected[:, 0, 0]
    tracks = torch.jit.annotate(list[Tensor], [])
    costs = torch.jit.annotate(list[Tensor], [])
    for frame in range(detected.shape[1]):
        pitches = detected[:, frame]
        candidates = pitches[:, orders]
        distance = (candidates - last[:, None]).abs()
        if not counts_missing:
            distance = distance * (candidates > 0).to(distance.dtype)
        total = distance.sum(2)
        best = (total + ranks).argmin(dim=1)[:, None]
        least = torch.gather(total, 1, best)[:, 0]
        sung = (pitches > 0).sum(1)
        safe = (sung == voice_count) | (sung == 0)
        # The first order is that of rank.
        taken = orders[best[:, 0] * (~safe).to(best.dtype)]
        assigned = torch.gather(pitches, 1, taken)
        cost = (cost + least) * (~safe).to(cost.dtype)
        last = torch.where(assigned > 0, assigned, last)
        tracks.append(taken)
        costs.append(cost)
    return torch.stack(tracks, dim=1), torch.stack(costs, dim=1)
