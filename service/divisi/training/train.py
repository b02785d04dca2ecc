"""The one training loop: draw a batch, take a step, keep a running average, save, score. Resumes where it stopped.

    divisi train chorus_pitch --data DATA --cache CACHE --out RUN

DATA holds `nino_dios/`; CACHE holds `labels/nino_dios/` (see `f0_labels`) and, where made, `resung/` (see `resung`).
RUN receives config.yaml, log.csv and checkpoint.pt.
"""

import copy
import csv
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from tqdm import tqdm

from divisi.networks.chorus import Chorus, build
from divisi.training import losses
from divisi.training.config import Stage, TrainConfig
from divisi.training.pitch_errors import disturb
from divisi.training.remix import Batch, Remixer
from divisi.training.resung import load_resung
from divisi.training.takes import Choir, load_nino_dios
from divisi.training.validate import Excerpt, Scores, cut_excerpts, validate

logger = logging.getLogger(__name__)

VALIDATION_SECONDS = (4.0, 100.0)


class Run:
    """Everything that a checkpoint must restore: network, its running average, optimiser, step."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        network = build(config.network)
        assert isinstance(network, Chorus)
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self.network.requires_grad_(False)
        self.trained_part().requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            list(self.trained_part().parameters()), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    def trained_part(self) -> nn.Module:
        parts: dict[Stage, nn.Module] = {
            Stage.PITCH: self.network.pitch,
            Stage.PRESENCE: self.network.pitch.presence,
            Stage.JOINT: self.network,
        }
        return parts.get(self.config.stage, self.network.mask)

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to nearly nothing."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        done = min(1.0, self.step / self.config.steps)
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the losses by name."""
        # Seeding every step makes dropout and pitch errors the same after a resume.
        torch.manual_seed((self.config.seed << 32) + self.step)
        self.network.train()
        self.network.pitch.train(self.config.stage in (Stage.PITCH, Stage.JOINT))
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        parts = batch_losses(self.network, batch, self.config, self.step)
        total = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.trained_part().parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        self.step += 1
        return {name: value.item() for name, value in parts.items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint in one piece; `torch.load(weights_only=True)` reads it."""
        state = {
            "config": self.config.as_plain(),
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

    def start_from(self, path: Path) -> None:
        """Take over what another run has trained: `pitch`, `mask` (also of an adapting run), who sings, or all."""
        state = torch.load(path, weights_only=True)
        prefixes = {"pitch": "pitch.", "presence": "pitch.presence.", "mask": "mask.", "adapt": "mask.", "joint": ""}
        prefix = prefixes[state["config"]["stage"]]
        learned = {name: value for name, value in state["average"].items() if name.startswith(prefix)}
        for network in (self.network, self.average):
            network.load_state_dict(learned, strict=False)
        logger.info("started from %s: %d arrays", path, len(learned))


def batch_losses(network: Chorus, batch: Batch, config: TrainConfig, step: int) -> dict[str, Tensor]:
    """Losses of one batch by name, weighted."""
    mixture, f0_hz, roster = map(torch.from_numpy, (batch.mixture, batch.f0_hz, batch.roster))
    with torch.no_grad():
        real, imag, wide, narrow = network.spectra(mixture)
    parts: dict[str, Tensor] = {}
    if config.stage is Stage.MASK:
        rng = np.random.default_rng((config.seed, step, 1))
        heard_hz, voicing = map(torch.from_numpy, disturb(rng, batch.f0_hz))
    elif config.stage is Stage.ADAPT:
        with torch.no_grad():
            heard_hz, voicing = network.decode(network.pitch(wide, narrow, roster)[1])
    else:
        guess, refined, presence = network.pitch(wide, narrow, roster)
        parts["presence"] = config.presence_weight * losses.presence_loss(presence, f0_hz, roster)
        if config.stage is Stage.PRESENCE:
            return parts
        parts["guess"] = 0.5 * config.pitch_weight * losses.pitch_loss(guess, f0_hz)
        parts["pitch"] = config.pitch_weight * losses.pitch_loss(refined, f0_hz)
        heard_hz, voicing = network.decode(refined.detach())
    if config.stage is not Stage.PITCH:
        _, partials, masks, rest = network.split(mixture, (real, imag), wide, narrow, heard_hz, voicing, roster)
        sources = spectra_of_sources(network, torch.from_numpy(batch.sources))
        masked = losses.masked(masks, (real, imag))
        sines = spectra_of_sources(network, partials)
        shares = losses.masked(masks, rest)
        estimates = sines[0] + shares[0], sines[1] + shares[1]
        # Masks that explain the mixture alone give the partials an honest prior.
        parts["masked"] = 0.3 * losses.energy_loss(masked, (real, imag), sources)
        parts["energy"] = losses.energy_loss(estimates, (real, imag), sources)
        parts["magnitude"] = config.magnitude_weight * losses.magnitude_loss(estimates, sources)
    return parts


def spectra_of_sources(network: Chorus, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Shape: (B, 4, T) -> real and imaginary parts (B, 4, F, N)."""
    real, imag = network.fourier.analyse(sources.flatten(0, 1))
    return real.unflatten(0, sources.shape[:2]), imag.unflatten(0, sources.shape[:2])


def load_material(config: TrainConfig, data: Path, cache: Path) -> tuple[list[Choir], list[Excerpt]]:
    """Real choirs, and the excerpts of the singer kept for validation."""
    folders = data / "nino_dios", cache / "labels" / "nino_dios"
    real = load_nino_dios(*folders, config.singers)
    held = load_nino_dios(*folders, (config.validation_singer,))
    return [real], cut_excerpts(held, *VALIDATION_SECONDS, config.remix.hop_length)


def train(config: TrainConfig, data: Path, cache: Path, out: Path, start_from: list[Path]) -> Scores:
    """Train to the configured step, resuming `out/checkpoint.pt` if it is there; returns the last scores."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config.as_plain(), sort_keys=False))
    real, held = load_material(config, data, cache)
    known: dict[str, Choir] = {}
    remixer = Remixer(real, load_resung(cache / "resung", known), config.remix, config.seed)
    run = Run(config)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    else:
        for path in start_from:
            run.start_from(path)
    logger.info("step %d of %d, %d re-sung choirs", run.step, config.steps, len(remixer.resung))
    with (out / "log.csv").open("a", newline="") as handle:
        log = csv.writer(handle)
        recent: dict[str, float] = {}
        for _ in progress(run, config.steps):
            values = run.train_step(remixer.batch(run.step, config.batch_size))
            recent = {name: 0.98 * recent.get(name, value) + 0.02 * value for name, value in values.items()}
            if run.step % config.save_every == 0 or run.step == config.steps:
                run.save(checkpoint)
                log.writerow([run.step, *(f"{name}={value:.4f}" for name, value in recent.items())])
                handle.flush()
                remixer.resung = load_resung(cache / "resung", known)  # choirs still being made join as they come
            if run.step % config.validate_every == 0 or run.step == config.steps:
                report(run, held, log)
                handle.flush()
        if config.steps == 0:
            run.save(checkpoint)  # nothing to learn: halves trained elsewhere are put together
            report(run, held, log)
    return validate(run.average, held, true_pitch=config.stage is Stage.MASK)


def progress(run: Run, steps: int) -> Iterator[Any]:
    return iter(tqdm(range(run.step, steps), initial=run.step, total=steps, mininterval=10, dynamic_ncols=True))


def report(run: Run, held: list[Excerpt], log: Any) -> None:
    """Write the scores of the running average to the log."""
    scores = validate(run.average, held, true_pitch=run.config.stage is Stage.MASK)
    log.writerow([run.step, "held", *(f"{name}={value}" for name, value in vars(scores).items())])
    logger.info("step %d: %s", run.step, scores)
