"""Trains the flagship's last stage, the refiner, on the examples of `choir_examples`; on a CPU or an accelerator.

    python -m divisi_workshop.learning.refine --chorus RUN/checkpoint.pt --examples CACHE/choir_examples \\
        --out RUNS/refine --minutes 60 [--device cuda]

It trains for so many minutes in all, however often it is interrupted: the checkpoint knows how many have passed, and
resumes on any device. OUT receives checkpoint.pt, a whole flagship that `divisi export` takes, and log.csv. Examples
that are still being made join as they come.
"""

import argparse
import copy
import csv
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from divisi_workshop.learning.choir_examples import KINDS, SPECTRUM_SCALE
from divisi_workshop.learning.train import load_network
from divisi_workshop.networks.choir_refiner import ChoirRefiner

logger = logging.getLogger(__name__)

SOFT_THRESHOLD = 1e-3
"""30 dB below a voice, or below the mixture: beyond it, a clean estimate is not worth more."""
AVERAGE_DECAY = 0.99
LOG_MEMORY = 0.98
WARMUP_STEPS = 30
CLIP_NORM = 1.0


@dataclass(frozen=True)
class RefineConfig:
    """One run, which ends after `minutes` or `most_steps`. `kind_shares` in the order of `choir_examples.KINDS`."""

    minutes: float = 60.0
    most_steps: int = 1_000_000
    batch_size: int = 4
    crop_frames: int = 120
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    kind_shares: tuple[float, ...] = (0.30, 0.30, 0.14, 0.26)
    seed: int = 1


@dataclass(frozen=True)
class RefineBatch:
    """Spectra are real and imaginary; shapes as `ChoirRefiner` has them, sources (B, V, F, N)."""

    mixture: tuple[Tensor, Tensor]
    estimates: tuple[Tensor, Tensor]
    sources: tuple[Tensor, Tensor]
    masks: Tensor
    f0_hz: Tensor
    voicing: Tensor
    roster: Tensor


class ExampleShelf:
    """The examples of a folder, kept in memory in half precision."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[str] = set()
        self.by_kind: list[list[dict[str, np.ndarray]]] = [[] for _ in KINDS]
        self.take_new()

    def take_new(self) -> None:
        """Reads what has come since."""
        for path in sorted(self.folder.glob("example_*.npz")):
            if path.name not in self.known:
                self.known.add(path.name)
                with np.load(path) as stored:
                    arrays = {name: stored[name] for name in stored.files}
                self.by_kind[int(arrays["kind"])].append(arrays)

    def batch(self, config: RefineConfig, step: int, device: torch.device) -> tuple[int, RefineBatch]:
        """Crops of examples of one kind, and which kind."""
        rng = np.random.default_rng((config.seed, step))
        shares = np.array(config.kind_shares) * [bool(examples) for examples in self.by_kind]
        if not shares.any():
            raise ValueError(f"{self.folder} holds no examples; make some with divisi_workshop.learning.choir_examples")
        kind = int(rng.choice(len(KINDS), p=shares / shares.sum()))
        examples = self.by_kind[kind]
        chosen = [examples[int(rng.integers(len(examples)))] for _ in range(config.batch_size)]
        starts = [int(rng.integers(0, each["masks"].shape[2] - config.crop_frames + 1)) for each in chosen]

        def stacked(name: str) -> Tensor:
            crops = [each[name][..., at : at + config.crop_frames] for each, at in zip(chosen, starts, strict=True)]
            return torch.from_numpy(np.stack(crops)).to(device).float()

        spectra = stacked("spectra") / SPECTRUM_SCALE
        real, imag = spectra[:, :, 0], spectra[:, :, 1]
        roster = torch.from_numpy(np.stack([each["roster"] for each in chosen])).to(device).float()
        voices = roster.shape[1]
        return kind, RefineBatch(
            (real[:, 0], imag[:, 0]),
            (real[:, 1 : 1 + voices], imag[:, 1 : 1 + voices]),
            (real[:, 1 + voices :], imag[:, 1 + voices :]),
            stacked("masks"),
            stacked("f0_hz"),
            stacked("voicing"),
            roster,
        )


def refine(network: ChoirRefiner, batch: RefineBatch) -> tuple[Tensor, Tensor]:
    """Refined spectra. Shape: (B, V, F, N), real and imaginary."""
    real, imag = network(batch.mixture, batch.estimates, batch.masks, batch.f0_hz, batch.voicing, batch.roster)
    return batch.estimates[0] + real, batch.estimates[1] + imag


def distortion(estimates: tuple[Tensor, Tensor], batch: RefineBatch) -> Tensor:
    """Negative SNR in dB, softly bounded, mean over voices: a silent voice is measured against the mixture."""
    error = (estimates[0] - batch.sources[0]).square() + (estimates[1] - batch.sources[1]).square()
    power = (batch.sources[0].square() + batch.sources[1].square()).sum((2, 3))
    total = (batch.mixture[0].square() + batch.mixture[1].square()).sum((1, 2))[:, None]
    floor = SOFT_THRESHOLD * (power + total) + 1e-9
    return (10 * torch.log10((error.sum((2, 3)) + floor) / (power + SOFT_THRESHOLD * total + 1e-9))).mean()


class RefineRun:
    """Everything that a checkpoint must restore."""

    def __init__(self, config: RefineConfig, chorus: Path, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.device = device
        self.whole = load_network(chorus).to(device)
        self.average = self.whole.refine.requires_grad_(False)
        self.network = copy.deepcopy(self.average).requires_grad_(True).train()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.gains: dict[str, float] = {}

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine over the minutes down to nearly nothing."""
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        done = min(1.0, self.seconds / (60 * self.config.minutes))
        return self.config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def train_step(self, shelf: ExampleShelf) -> None:
        """One optimiser step; `gains` remembers by how many decibels the estimates become better."""
        began = time.monotonic()
        kind, batch = shelf.batch(self.config, self.step, self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            refined = refine(self.network, batch)
        loss = distortion(refined, batch)
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
            gain = float(distortion(batch.estimates, batch) - loss)
        name = KINDS[kind]
        self.gains[name] = LOG_MEMORY * self.gains.get(name, gain) + (1 - LOG_MEMORY) * gain
        self.step += 1
        self.seconds += time.monotonic() - began

    def save(self, path: Path) -> None:
        """Write a checkpoint in one piece; `torch.load(weights_only=True)` reads it."""
        state = {
            "config": {"network": asdict(self.whole.config), "refine": plain(self.config)},
            "average": self.whole.state_dict(),
            "refiner": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Resume."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.whole.load_state_dict(state["average"])
        self.network.load_state_dict(state["refiner"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def plain(config: RefineConfig) -> dict[str, Any]:
    """Values that a weights-only checkpoint can carry."""
    return {**asdict(config), "kind_shares": list(config.kind_shares)}


def train(
    config: RefineConfig, chorus: Path, examples: Path, out: Path, device: torch.device, save_every: int = 100
) -> dict[str, float]:
    """Train for the minutes that are left; returns by how many decibels each kind of example gains."""
    out.mkdir(parents=True, exist_ok=True)
    shelf = ExampleShelf(examples)
    run = RefineRun(config, chorus, device)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    with (out / "log.csv").open("a", newline="") as handle:
        log = csv.writer(handle)
        while run.seconds < 60 * config.minutes and run.step < config.most_steps:
            run.train_step(shelf)
            if run.step % save_every == 0:
                run.save(checkpoint)
                shelf.take_new()
                gains = [f"{name} {value:.2f}" for name, value in sorted(run.gains.items())]
                log.writerow([run.step, f"{run.seconds:.0f}", len(shelf.known), *gains])
                handle.flush()
                logger.info("step %d, %.0f s, %d examples: %s", run.step, run.seconds, len(shelf.known), gains)
    run.save(checkpoint)
    return run.gains


def main(arguments: Sequence[str] | None = None) -> None:
    defaults = RefineConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorus", type=Path, required=True, help="checkpoint of the earlier stages")
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=defaults.minutes)
    parser.add_argument("--most-steps", type=int, default=defaults.most_steps)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(given.threads)
    config = RefineConfig(given.minutes, given.most_steps, given.batch_size)
    train(config, given.chorus, given.examples, given.out, torch.device(given.device))


if __name__ == "__main__":
    main()
