"""The loop for the published systems: like that of `train`, over parts that learn and weighted losses.

    divisi train umss_satb --data DATA --cache CACHE --out RUN

Folders and what RUN receives are those of `train`. F0 networks come first (`multi_f0`, then `assigner`); separators
are started from their checkpoints (`--start-from`), which hand over every part they have trained.
"""

import copy
import csv
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from tqdm import tqdm

from divisi.networks import umss, unet
from divisi.training import system_losses as losses
from divisi.training.choir_folders import load_dataset
from divisi.training.remix import Remixer
from divisi.training.resung import load_resung
from divisi.training.system_config import NINO_DIOS, Part, Pitch, SystemConfig
from divisi.training.system_material import Material, choose_voices
from divisi.training.takes import Choir, load_nino_dios
from divisi.training.validate_system import SystemScores, validate_system

logger = logging.getLogger(__name__)


class SystemRun:
    """Everything that a checkpoint must restore: network, its running average, optimiser, step."""

    def __init__(self, config: SystemConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.network = (unet if config.is_unet else umss).build(config.network)
        parts = {part: find_part(self.network, part) for part in Part}
        self.learning = nn.ModuleList(module for part in config.learns if (module := parts[part]) is not None)
        self.network.requires_grad_(False)
        self.learning.requires_grad_(True)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(
            self.learning.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to nearly nothing."""
        warm = min(1.0, (self.step + 1) / self.config.warmup_steps)
        done = min(1.0, self.step / self.config.steps)
        return self.config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def set_modes(self) -> None:
        """Frozen parts are in evaluation mode; so are F0 networks that learn along with a separator (published)."""
        self.network.eval()
        alone = not {Part.SEPARATOR, Part.UNET} & set(self.config.learns)
        for part, module in zip(self.config.learns, self.learning, strict=True):
            module.train(alone or part in (Part.SEPARATOR, Part.UNET))

    def train_step(self, material: Material) -> dict[str, float]:
        """One optimiser step; returns the weighted losses by name."""
        # Seeding every step makes noise and dropout the same after a resume.
        torch.manual_seed((self.config.seed << 32) + self.step)
        self.set_modes()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        parts = batch_losses(self.network, material, self.config)
        total = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.learning.parameters(), self.config.clip_norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
            for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(new)
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
        """Take over the parts that another run has trained, where the shapes fit."""
        state = torch.load(path, weights_only=True)
        own = self.network.state_dict()
        trained = [PREFIXES[Part(part)] for part in state["config"]["learns"]]
        taken = {
            name: value
            for name, value in state["average"].items()
            if name.startswith(tuple(trained)) and name in own and own[name].shape == value.shape
        }
        for network in (self.network, self.average):
            network.load_state_dict(taken, strict=False)
        logger.info("started from %s: %d arrays", path, len(taken))


QUIETEST_VOICE = 0.05

PREFIXES = {
    Part.MULTI_F0: "pitch.multi_f0.",
    Part.ASSIGNER: "pitch.assigner.",
    Part.SEPARATOR: "separator.",
    Part.UNET: "unet.",
}


def find_part(network: nn.Module, part: Part) -> nn.Module | None:
    """The module of a part, None where the network has none."""
    module: Any = network
    for name in PREFIXES[part].strip(".").split("."):
        module = getattr(module, name, None)
    return module


def batch_losses(network: nn.Module, material: Material, config: SystemConfig) -> dict[str, Tensor]:
    """Losses of one batch by name, weighted; what no loss needs is not computed."""
    mixture, sources, f0_hz = map(torch.from_numpy, (material.mixture, material.sources, material.f0_hz))
    f0_hz = f0_hz[:, :, : mixture.shape[1] // umss.HOP_LENGTH]
    reader: Any = network.pitch
    weights, values = config.weights, {}
    heard_hz = f0_hz
    if config.pitch is Pitch.NETWORK:
        learns_f0 = Part.MULTI_F0 in config.learns
        with torch.set_grad_enabled(learns_f0):
            spectra = reader.multi_f0.hcqt(mixture)
            with half_convolutions(config):
                salience = reader.multi_f0.salience(*spectra)
        salience = salience.float()
        frequencies_hz = reader.multi_f0.hcqt.frequencies_hz().float()
        targets = losses.pitch_maps(at_frames(reader, f0_hz, salience.shape[3]), frequencies_hz)
        if weights.multi_f0:
            values["multi_f0"] = losses.map_loss(salience, targets.amax(1, keepdim=True))
        if reader.assigner is not None and (set(config.learns) != {Part.MULTI_F0}):
            with half_convolutions(config):
                by_voice = reader.assigner(salience)
            by_voice = by_voice.float()
            values |= salience_losses(reader, by_voice, salience, targets, frequencies_hz, config)
            heard_hz = reader.to_grid(reader.link(by_voice), f0_hz.shape[2])
        elif not weights.multi_f0:
            heard_hz = reader.to_grid(reader.assign(salience), f0_hz.shape[2])
    if weights.reconstruction or weights.sources:
        separator: Any = network.separator
        voices = separator(mixture, heard_hz)
        if weights.reconstruction:
            values["reconstruction"] = losses.spectral_loss(voices.sum(1), mixture)
        if weights.sources:
            values["sources"] = losses.spectral_loss(voices.flatten(0, 1), sources.flatten(0, 1))
    for name, is_relative in (("magnitude", False), ("relative_magnitude", True)):
        if getattr(weights, name):
            values[name] = magnitude_loss(network, mixture, sources, heard_hz, is_relative)
    return {name: getattr(weights, name) * value for name, value in values.items()}


def half_convolutions(config: SystemConfig) -> torch.autocast:
    """Where convolutions may compute in bfloat16: those of the F0 networks, but not the transform before them."""
    return torch.autocast("cpu", torch.bfloat16, enabled=config.half_convolutions)


def at_frames(reader: Any, f0_hz: Tensor, frame_count: int) -> Tensor:
    """Labels at the frames of the salience, the nearest ones. Shape: (B, V, N) -> (B, V, frame_count)."""
    hcqt = reader.multi_f0.hcqt.config
    hops = torch.arange(frame_count) * (hcqt.hop_length / hcqt.sample_rate * umss.SAMPLE_RATE / umss.HOP_LENGTH)
    return f0_hz[:, :, torch.round(hops).long().clamp(max=f0_hz.shape[2] - 1)]


def salience_losses(
    reader: Any, by_voice: Tensor, salience: Tensor, targets: Tensor, frequencies_hz: Tensor, config: SystemConfig
) -> dict[str, Tensor]:
    """The losses on the assigner's maps that have a weight."""
    values = {}
    if config.weights.assigner:
        values["assigner"] = losses.map_loss(by_voice, targets)
    if config.weights.salience:
        values["salience"] = losses.salience_loss(by_voice, salience)
    if config.weights.voices:
        values["voices"] = losses.register_loss(by_voice, frequencies_hz)
    if config.weights.commitment:
        values["commitment"] = losses.commitment_loss(by_voice, reader.link.one_hot(by_voice))
    return values


def magnitude_loss(network: Any, mixture: Tensor, sources: Tensor, f0_hz: Tensor, is_relative: bool) -> Tensor:
    """L1 between estimated and true magnitude of one random voice of every example (the U-Net's loss); relative to that
    voice's mean magnitude, but to no less than a twentieth of the mixture's.
    """
    chosen = torch.randint(sources.shape[1], (len(mixture),))
    rows = torch.arange(len(mixture))
    spectra = network.spectrum(torch.cat([mixture, sources[rows, chosen]]))
    magnitudes = unet.magnitude(*spectra) / network.fourier.scale
    heard, wanted = magnitudes.chunk(2)
    error = (network.unet(heard, f0_hz[rows, chosen]) - wanted).abs().mean((1, 2))
    if is_relative:
        error = error / torch.maximum(wanted.mean((1, 2)), QUIETEST_VOICE * heard.mean((1, 2)))
    return error.mean()


def load_choirs(config: SystemConfig, data: Path, cache: Path) -> tuple[list[Choir], list[Choir]]:
    """Choirs to train on, and those kept for validation."""
    if config.dataset != NINO_DIOS:
        return load_dataset(config.dataset, data, cache)
    folders = data / NINO_DIOS, cache / "labels" / NINO_DIOS
    return [load_nino_dios(*folders, config.singers)], [load_nino_dios(*folders, (config.validation_singer,))]


def train_system(config: SystemConfig, data: Path, cache: Path, out: Path, start_from: list[Path]) -> SystemScores:
    """Train to the configured step, resuming `out/checkpoint.pt` if it is there; returns the last scores."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config.as_plain(), sort_keys=False))
    real, held = load_choirs(config, data, cache)
    remixer = Remixer(real, load_resung(cache / "resung"), config.remix, config.seed)
    run = SystemRun(config)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    else:
        for path in start_from:
            run.start_from(path)
    logger.info("step %d of %d, %d re-sung choirs", run.step, config.steps, len(remixer.resung))
    scores = None
    with (out / "log.csv").open("a", newline="") as handle:
        log = csv.writer(handle)
        recent: dict[str, float] = {}
        for _ in tqdm(range(run.step, config.steps), initial=run.step, total=config.steps, mininterval=10):
            values = run.train_step(draw(remixer, config, run.step))
            recent = {name: 0.98 * recent.get(name, value) + 0.02 * value for name, value in values.items()}
            if run.step % config.save_every == 0 or run.step == config.steps:
                run.save(checkpoint)
                log.writerow([run.step, *(f"{name}={value:.4f}" for name, value in recent.items())])
                handle.flush()
            if run.step % config.validate_every == 0 or run.step == config.steps:
                scores = validate_system(run.average, held, config)
                log.writerow([run.step, "held", *(f"{name}={value}" for name, value in vars(scores).items())])
                handle.flush()
                logger.info("step %d: %s", run.step, scores)
    return scores or validate_system(run.average, held, config)


def draw(remixer: Remixer, config: SystemConfig, step: int) -> Material:
    """The material of one step: always the same for the same seed, step and choirs."""
    rng = np.random.default_rng((config.seed, step, 2))
    return choose_voices(remixer.batch(step, config.batch_size), config.voice_count, rng)
