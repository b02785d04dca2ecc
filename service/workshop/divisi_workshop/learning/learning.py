"""The one training loop: draw a batch, take a step, keep a running average, save, score. Resumes where it stopped.

What learns, and from which losses, is for the two kinds of run to say: `train` has the flagship's, `train_system` that
of the published systems. A run's folder receives config.yaml, log.csv and checkpoint.pt.
"""

import csv
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
import yaml
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from divisi_workshop.config import STRICT, plain
from divisi_workshop.learning.remix import RemixOptions

logger = logging.getLogger(__name__)

LOG_MEMORY = 0.98
"""How much of the losses in the log is what they were one step before."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """What every run has. Steps count optimiser steps."""

    steps: int
    seed: int = 1
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 60
    clip_norm: float = 5.0
    average_decay: float = 0.995
    validate_every: int = 500
    save_every: int = 250
    singers: tuple[int, ...] = (1, 2, 3)
    validation_singer: int = 4
    remix: RemixOptions = field(default_factory=RemixOptions)

    def __post_init__(self) -> None:
        if self.validation_singer in self.singers:
            raise ValueError(f"singer {self.validation_singer} is kept for validation and must not be trained on")


Config = TypeVar("Config", bound=RunConfig)
Network = TypeVar("Network", bound=nn.Module)
Material = TypeVar("Material")
Scores = TypeVar("Scores")


class LearningRun(ABC, Generic[Config, Network, Material]):
    """Everything that a checkpoint must restore: network, its running average, optimiser, step.

    Args:
        network: whole, whatever learns.
        learning: the modules of it that learn; all others are frozen.
        optimiser: which kind.
    """

    def __init__(
        self,
        config: Config,
        network: Network,
        learning: Sequence[nn.Module],
        optimiser: type[torch.optim.Adam],
    ) -> None:
        self.config: Config = config
        self.network = network
        self.learning = nn.ModuleList(learning)
        decay = config.average_decay

        def nearer(kept: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
            """Short at first, so that the beginning is soon forgotten."""
            return torch.lerp(kept, new, 1 - min(decay, (1 + int(count)) / (10 + int(count))))

        self.averaging = AveragedModel(network, avg_fn=nearer).requires_grad_(False).eval()
        self.average = cast(Network, self.averaging.module)
        self.network.requires_grad_(False)
        self.learning.requires_grad_(True)
        parameters = self.learning.parameters()
        self.optimiser = optimiser(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0

    @abstractmethod
    def set_modes(self) -> None:
        """Put what learns into training mode."""

    @abstractmethod
    def losses(self, material: Material) -> dict[str, Tensor]:
        """Losses of one batch by name, weighted."""

    @abstractmethod
    def learned_names(self, state: dict[str, Any]) -> tuple[str, ...]:
        """How the names of the arrays begin that the run of a checkpoint has trained."""

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to nearly nothing."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        done = min(1.0, self.step / self.config.steps)
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def train_step(self, material: Material) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        # Seeding every step makes dropout, noise and pitch errors the same after a resume.
        torch.manual_seed((self.config.seed << 32) + self.step)
        self.set_modes()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        parts = self.losses(material)
        total = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.learning.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        self.averaging.update_parameters(self.network)
        self.step += 1
        return {name: value.item() for name, value in parts.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint in one piece; `torch.load(weights_only=True)` reads it."""
        state = {
            "config": plain(self.config),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Resume from a checkpoint of the same configuration."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.averaging.n_averaged.fill_(self.step)

    def start_from(self, path: Path) -> None:
        """Take over what another run has trained of the parts that both have.

        Raises ValueError where an array has another size there: half a start would train unnoticed.
        """
        state = torch.load(path, weights_only=True)
        own = self.network.state_dict()
        names = self.learned_names(state)
        taken = {name: value for name, value in state["average"].items() if name in own and name.startswith(names)}
        for name, value in taken.items():
            if value.shape != own[name].shape:
                sizes = f"{tuple(value.shape)} in {path}, {tuple(own[name].shape)} here"
                raise ValueError(f"cannot start from another width: {name} is {sizes}")
        for network in (self.network, self.average):
            network.load_state_dict(taken, strict=False)
        logger.info("started from %s: %d arrays", path, len(taken))


def learn(
    run: LearningRun[Any, Any, Material],
    out: Path,
    start_from: Sequence[Path],
    draw: Callable[[int], Material],
    score: Callable[[], Scores],
    on_save: Callable[[], None] = lambda: None,
) -> Scores:
    """Train to the configured step, resuming `out/checkpoint.pt` if it is there; returns the last scores.

    Args:
        draw: the material of a step; the same for the same step.
        score: how good the running average is now.
        on_save: called after each checkpoint.
    """
    config = run.config
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(plain(config), sort_keys=False))
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    else:
        for path in start_from:
            run.start_from(path)
    logger.info("step %d of %d", run.step, config.steps)
    scores = None
    with (out / "log.csv").open("a", newline="") as handle:
        log = csv.writer(handle)

        def report() -> Scores:
            now = score()
            log.writerow([run.step, "held", *(f"{name}={value}" for name, value in vars(now).items())])
            handle.flush()
            logger.info("step %d: %s", run.step, now)
            return now

        recent: dict[str, float] = {}
        steps = range(run.step, config.steps)
        for _ in tqdm(steps, initial=run.step, total=config.steps, mininterval=10, dynamic_ncols=True):
            values = run.train_step(draw(run.step))
            recent = {
                name: LOG_MEMORY * recent.get(name, value) + (1 - LOG_MEMORY) * value for name, value in values.items()
            }
            is_last = run.step == config.steps
            if run.step % config.save_every == 0 or is_last:
                run.save(checkpoint)
                log.writerow([run.step, *(f"{name}={value:.4f}" for name, value in recent.items())])
                handle.flush()
                on_save()
            if run.step % config.validate_every == 0 or is_last:
                scores = report()
        if config.steps == 0:
            run.save(checkpoint)  # nothing to learn: halves trained elsewhere are put together
        return scores or report()
