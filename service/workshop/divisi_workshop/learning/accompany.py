"""Trains the first stage of `chorus`, which tells an accompaniment from voices, on `accompaniment_examples`.

    python -m divisi_workshop.learning.accompany train --examples CACHE/accompaniment_examples --out RUNS/accompany \\
        --minutes 60
    python -m divisi_workshop.learning.accompany join --chorus RUNS/refine/checkpoint.pt \\
        --stage RUNS/accompany/checkpoint.pt --out RUNS/joined.pt

It trains for so many minutes in all, however often it is interrupted: OUT/checkpoint.pt knows how many have passed.
Examples that are still being made join as they come. `join` puts the stage in front of a flagship, whose weights stay
as they are: what it writes is a whole flagship that `divisi export` takes.
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

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.accompaniment import AccompanimentSplit

logger = logging.getLogger(__name__)

SOFT_THRESHOLD = 2e-3
"""27 dB below the voices: beyond it, a cleaner estimate is not worth more."""
AVERAGE_DECAY = 0.995
LOG_MEMORY = 0.97
WARMUP_STEPS = 50
CLIP_NORM = 1.0


@dataclass(frozen=True)
class AccompanyConfig:
    """One run, which ends after `minutes` or `most_steps`; levels in dB against the voices."""

    minutes: float = 60.0
    most_steps: int = 1_000_000
    batch_size: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    absent_share: float = 0.35
    absent_weight: float = 0.3
    """Of the estimate where nothing accompanies: the gate leaves such recordings alone."""
    presence_weight: float = 3.0
    level_db: tuple[float, float] = (-18.0, 3.0)
    noise_db: tuple[float, float] = (-65.0, -28.0)
    seed: int = 1


class SoundShelf:
    """The examples of a folder, kept in memory as 16 bit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[str] = set()
        self.sounds: list[np.ndarray] = []
        self.take_new()

    def take_new(self) -> None:
        """Reads what has come since."""
        for path in sorted(self.folder.glob("example_*.npz")):
            if path.name not in self.known:
                self.known.add(path.name)
                with np.load(path) as stored:
                    self.sounds.append(stored["sounds"])

    def batch(self, config: AccompanyConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mixtures of unit deviation (B, T), the voices in them (B, T), and whether anything accompanies (B,)."""
        rng = np.random.default_rng((config.seed, step))
        mixtures, sung, there = [], [], []
        for place in rng.integers(len(self.sounds), size=config.batch_size):
            voices, other = self.sounds[place].astype(np.float32)
            is_there = bool(other.any()) and rng.random() >= config.absent_share
            loudness = float(np.std(voices))
            level = 10 ** (rng.uniform(*config.level_db) / 20) if is_there else 0.0
            noise = 10 ** (rng.uniform(*config.noise_db) / 20) * loudness * rng.standard_normal(len(voices))
            mixture = voices + level * loudness / max(float(np.std(other)), 1e-9) * other + noise
            scale = float(np.std(mixture))
            mixtures.append(mixture / scale)
            sung.append(voices / scale)
            there.append(is_there)
        return (
            torch.from_numpy(np.stack(mixtures).astype(np.float32)),
            torch.from_numpy(np.stack(sung).astype(np.float32)),
            torch.tensor(there, dtype=torch.float32),
        )


@dataclass(frozen=True)
class Answer:
    """Of a batch: SNR of the voices in dB, before and after, softly bounded (B,), and log odds (B,)."""

    before_db: Tensor
    after_db: Tensor
    odds: Tensor


def answer(network: AccompanimentSplit, mixture: Tensor, sung: Tensor) -> Answer:
    """How well the voices come out. Shape: (B, T) twice."""
    real, imag = network.fourier.analyse(mixture)
    true_real, true_imag = network.fourier.analyse(sung)
    voices_real, voices_imag, odds = network.voices(real, imag)

    def snr(one_real: Tensor, one_imag: Tensor) -> Tensor:
        error = ((one_real - true_real).square() + (one_imag - true_imag).square()).sum((1, 2))
        power = (true_real.square() + true_imag.square()).sum((1, 2))
        return -10 * torch.log10(error / power + SOFT_THRESHOLD)

    return Answer(snr(real, imag).detach(), snr(voices_real, voices_imag), odds)


class AccompanyRun:
    """Everything that a checkpoint must restore."""

    def __init__(self, config: AccompanyConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.network = AccompanimentSplit().train()
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.figures: dict[str, float] = {}

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine over the minutes down to nearly nothing."""
        warm = min(1.0, (self.step + 1) / WARMUP_STEPS)
        done = min(1.0, self.seconds / (60 * self.config.minutes))
        return self.config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def train_step(self, shelf: SoundShelf) -> None:
        """One optimiser step; `figures` remembers how it goes."""
        began = time.monotonic()
        config = self.config
        mixture, sung, there = shelf.batch(config, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        found = answer(self.network, mixture, sung)
        weight = there + config.absent_weight * (1 - there)
        presence = functional.binary_cross_entropy_with_logits(found.odds, there)
        loss = -(weight * found.after_db).mean() + config.presence_weight * presence
        self.optimiser.zero_grad()
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)):
            self.optimiser.step()
        decay = min(AVERAGE_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
            gain = found.after_db - found.before_db
            is_wrong = ((found.odds > 0) != (there > 0.5)).float()
            for name, chosen in (("accompanied", there > 0.5), ("alone", there < 0.5)):
                if chosen.any():
                    self.remember(f"{name}, gain in dB", float(gain[chosen].mean()))
                    self.remember(f"{name}, not noticed so", float(is_wrong[chosen].mean()))
        self.step += 1
        self.seconds += time.monotonic() - began

    def remember(self, name: str, value: float) -> None:
        self.figures[name] = LOG_MEMORY * self.figures.get(name, value) + (1 - LOG_MEMORY) * value

    def save(self, path: Path) -> None:
        """Write a checkpoint in one piece; `torch.load(weights_only=True)` reads it."""
        config = {**asdict(self.config), "level_db": list(self.config.level_db), "noise_db": list(self.config.noise_db)}
        state = {
            "config": {"accompany": config},
            "average": self.average.state_dict(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Resume."""
        state = torch.load(path, weights_only=True)
        self.average.load_state_dict(state["average"])
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(config: AccompanyConfig, examples: Path, out: Path, save_every: int = 100) -> dict[str, float]:
    """Train for the minutes that are left; returns how it went in the end."""
    out.mkdir(parents=True, exist_ok=True)
    shelf = SoundShelf(examples)
    run = AccompanyRun(config)
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
                figures = [f"{name} {value:.2f}" for name, value in sorted(run.figures.items())]
                log.writerow([run.step, f"{run.seconds:.0f}", len(shelf.known), *figures])
                handle.flush()
                logger.info("step %d, %.0f s, %d examples: %s", run.step, run.seconds, len(shelf.known), figures)
    run.save(checkpoint)
    return run.figures


def join(chorus: Path, stage: Path, out: Path) -> None:
    """A flagship's checkpoint with the trained stage in front."""
    whole, first = (torch.load(path, weights_only=True, map_location="cpu") for path in (chorus, stage))
    stage_weights = {f"accompaniment.{name}": value for name, value in first["average"].items()}
    config = {**whole["config"], "network": {**whole["config"]["network"], "has_accompaniment": True}}
    torch.save({"config": config, "average": {**whole["average"], **stage_weights}}, out)


def main(arguments: Sequence[str] | None = None) -> None:
    defaults = AccompanyConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--examples", type=Path, required=True)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--minutes", type=float, default=defaults.minutes)
    training.add_argument("--most-steps", type=int, default=defaults.most_steps)
    training.add_argument("--batch-size", type=int, default=defaults.batch_size)
    training.add_argument("--threads", type=int, default=1)
    joining = commands.add_parser("join")
    for name in ("--chorus", "--stage", "--out"):
        joining.add_argument(name, type=Path, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.command == "join":
        join(given.chorus, given.stage, given.out)
    else:
        torch.set_num_threads(given.threads)
        train(AccompanyConfig(given.minutes, given.most_steps, given.batch_size), given.examples, given.out)


if __name__ == "__main__":
    main()
