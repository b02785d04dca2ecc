"""A start for the U-Net in its original condition: that network is taught what the efficient one says of a pitch.

    python -m divisi_workshop.learning.imitate_condition --teacher RUNS/unet_satb_efficient/checkpoint.pt \\
        --data DATA --cache CACHE --out RUNS/unet_condition

The original condition has no rectifiers, and from nothing it learns slowly. It is linear, though, so what it can say at
best of each of its 361 places of pitch is a matter of least squares. From there it goes on by gradients, over tracks of
the training singers alone. Everything but the condition is the teacher's; the checkpoint is a start for
`divisi train unet_satb --start-from`.
"""

import argparse
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from divisi_workshop.choirs.f0_labels import LABEL_HOP_SECONDS
from divisi_workshop.choirs.resung import load_resung
from divisi_workshop.choirs.takes import Part
from divisi_workshop.learning.system_config import SystemConfig, find_config, parse_system
from divisi_workshop.learning.train_system import SystemRun, load_choirs
from divisi_workshop.networks import umss, unet

TRACK_FRAMES = 128
BATCH_SIZE = 8
TABLE_BATCHES = 400
RIDGE = 10.0
"""Frames' worth of pull towards zero, for places of pitch that nobody sings."""
TRANSPOSE_SEMITONES = 4.0

logger = logging.getLogger(__name__)


class Tracks:
    """Stretches of what singers sang, transposed as the remixer does, every 16 ms."""

    def __init__(self, parts: Sequence[Part], seed: int) -> None:
        longest = TRACK_FRAMES * umss.HOP_LENGTH / umss.SAMPLE_RATE * 2 ** (TRANSPOSE_SEMITONES / 12)
        self.tracks = [part.f0_hz for part in parts if len(part.f0_hz) * LABEL_HOP_SECONDS > longest]
        if not self.tracks:
            raise ValueError(f"no part lasts {longest:.1f} s")
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> Tensor:
        """F0 in Hz, 0 = unvoiced. Shape: (size, TRACK_FRAMES)."""
        rows = []
        for _ in range(size):
            track = self.tracks[self.rng.integers(len(self.tracks))]
            ratio = 2 ** (self.rng.uniform(-TRANSPOSE_SEMITONES, TRANSPOSE_SEMITONES) / 12)
            step = umss.HOP_LENGTH / umss.SAMPLE_RATE / LABEL_HOP_SECONDS * ratio
            places = np.floor(np.arange(TRACK_FRAMES) * step).astype(int)
            rows.append(track[places + self.rng.integers(len(track) - places[-1])] * ratio)
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def said(condition: nn.Module, f0_hz: Tensor) -> Tensor:
    """Gains and offsets, one after the other. Shape: (R, N) -> (R, 2 F, N + 4)."""
    return torch.cat(condition(f0_hz), dim=1)


@torch.no_grad()
def mean_by_place(teacher: nn.Module, tracks: Tracks, batches: int) -> tuple[Tensor, Tensor]:
    """What the teacher says on average at each place of pitch, and in how many frames. Shape: (361, 2 F), (361,)."""
    total, count = torch.zeros(unet.PITCH_BINS, 1), torch.zeros(unet.PITCH_BINS)
    for _ in range(batches):
        f0_hz = tracks.batch(BATCH_SIZE)
        place = unet.pitch_places(f0_hz).long().flatten()
        answers = said(teacher, f0_hz).transpose(1, 2).flatten(0, 1)
        total = total + torch.zeros(unet.PITCH_BINS, answers.shape[1]).index_add_(0, place, answers)
        count.index_add_(0, place, torch.ones(len(place)))
    return total / count.clamp(min=1)[:, None], count


@torch.no_grad()
def set_by_least_squares(condition: unet.OriginalCondition, means: Tensor, count: Tensor) -> float:
    """Let the middle taps say these means, as well as their rank allows; returns the share that it does not.

    Shape: those of `mean_by_place`.
    """
    convolutions = [cast(nn.Conv1d, convolution) for convolution in condition.convolutions]
    rank = min(convolution.out_channels for convolution in convolutions)
    overall = (count[:, None] * means).sum(0) / count.sum()
    wanted, weight = (means - overall).double(), count.double().sqrt()[:, None]
    blurred = unet.blurred(torch.arange(unet.PITCH_BINS)).double()
    normal = blurred.T @ (weight**2 * blurred) + RIDGE * torch.eye(unet.PITCH_BINS, dtype=torch.float64)
    table = torch.linalg.solve(normal, blurred.T @ (weight**2 * wanted))
    answers = torch.linalg.svd(weight * (blurred @ table), full_matrices=False).Vh[:rank]
    features = table @ answers.T
    # Features of unit power: the convolutions then learn at one pace.
    power = (weight * (blurred @ features)).square().sum(0) / count.sum()
    features, answers = features / power.sqrt(), answers * power.sqrt()[:, None]
    first, *others = convolutions
    for convolution in convolutions:
        nn.init.zeros_(cast(Tensor, convolution.bias))
        convolution.weight.mul_(0.1)
    first.weight[:rank, :, unet.TAPS_BEFORE] = features.T.float()
    for convolution in others:
        convolution.weight[:rank, :rank, unet.TAPS_BEFORE] += torch.eye(rank)
    bins = condition.linear_gamma.out_features
    for linear, half in ((condition.linear_gamma, slice(bins)), (condition.linear_beta, slice(bins, None))):
        linear.weight.mul_(0.1)
        linear.weight[:, :rank] = answers[:, half].T.float()
        linear.bias.copy_(overall[half])
    missed = weight * (blurred @ features @ answers - wanted)
    return float(missed.square().sum() / (weight * wanted).square().sum())


def imitate(condition: nn.Module, teacher: nn.Module, tracks: Tracks, steps: int, learning_rate: float) -> None:
    """Least mean squares by Adam, the rate falling to nothing."""
    optimiser = torch.optim.Adam(condition.parameters(), lr=learning_rate)
    recent = 0.0
    for step in (bar := trange(steps, mininterval=10)):
        f0_hz = tracks.batch(BATCH_SIZE)
        with torch.no_grad():
            wanted = said(teacher, f0_hz)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = functional.mse_loss(said(condition, f0_hz), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        recent = loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
        bar.set_postfix(error=f"{recent:.4f}", refresh=False)
    logger.info("mean squared error %.4f", recent)


def start(config: SystemConfig, teacher_path: Path, parts: Sequence[Part], steps: int, rate: float) -> SystemRun:
    """A run at step 0 whose U-Net is the teacher's, and whose condition says nearly what the teacher's says."""
    state = torch.load(teacher_path, weights_only=True)
    teacher: Any = unet.build(state["config"]["network"])
    teacher.load_state_dict(state["average"])
    teacher.eval().requires_grad_(False)
    run = SystemRun(config)
    run.start_from(teacher_path)
    condition: Any = run.network.unet.condition
    tracks = Tracks(parts, config.seed)
    missed = set_by_least_squares(condition, *mean_by_place(teacher.unet.condition, tracks, TABLE_BATCHES))
    logger.info("least squares miss %.1f %% of what differs from place to place", 100 * missed)
    imitate(condition, teacher.unet.condition, tracks, steps, rate)
    run.average.load_state_dict(run.network.state_dict())
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="checkpoint of `unet_satb_efficient`")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    values = find_config("unet_satb")
    assert values is not None
    config = parse_system(values)
    real, _ = load_choirs(config, arguments.data, arguments.cache)
    choirs = [*real, *load_resung(arguments.cache / "resung")]
    parts = [part for choir in choirs for voice in choir.parts for part in voice]
    run = start(config, arguments.teacher, parts, arguments.steps, arguments.learning_rate)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run.save(arguments.out / "checkpoint.pt")


if __name__ == "__main__":
    main()
