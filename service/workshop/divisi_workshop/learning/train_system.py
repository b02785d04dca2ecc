"""The published systems: which parts learn, from which weighted losses; the loop is that of `learning`.

    divisi train umss_satb --data DATA --cache CACHE --out RUN

Folders and what RUN receives are those of `train`. F0 networks come first (`multi_f0`, then `assigner`); separators
are started from their checkpoints (`--start-from`), which hand over every part they have trained.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from divisi_workshop.choirs.choir_folders import load_dataset
from divisi_workshop.choirs.remix import Remixer
from divisi_workshop.choirs.resung import load_resung
from divisi_workshop.choirs.takes import Choir, load_nino_dios
from divisi_workshop.learning import system_losses as losses
from divisi_workshop.learning.learning import LearningRun, learn
from divisi_workshop.learning.system_config import NINO_DIOS, Part, Pitch, SystemConfig
from divisi_workshop.learning.system_material import Material, choose_voices
from divisi_workshop.learning.validate_system import SystemScores, validate_system
from divisi_workshop.published import umss, unet

logger = logging.getLogger(__name__)


class SystemRun(LearningRun[SystemConfig, Any, Material]):
    """A schedule of a published system, or a stage of one."""

    def __init__(self, config: SystemConfig) -> None:
        torch.manual_seed(config.seed)
        network = (unet if config.is_unet else umss).build(config.network)
        learning = [module for part in config.learns if (module := find_part(network, part)) is not None]

        def optimiser(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)

        super().__init__(config, network, learning, optimiser)

    def set_modes(self) -> None:
        """Frozen parts are in evaluation mode; so are F0 networks that learn along with a separator (published)."""
        self.network.eval()
        alone = not {Part.SEPARATOR, Part.UNET} & set(self.config.learns)
        for part, module in zip(self.config.learns, self.learning, strict=True):
            module.train(alone or part in (Part.SEPARATOR, Part.UNET))

    def losses(self, material: Material) -> dict[str, Tensor]:
        return batch_losses(self.network, material, self.config)

    def learned_names(self, state: dict[str, Any]) -> tuple[str, ...]:
        return tuple(PREFIXES[Part(part)] for part in state["config"]["learns"])


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
    real, held = load_choirs(config, data, cache)
    remixer = Remixer(real, load_resung(cache / "resung"), config.remix, config.seed)
    logger.info("%d re-sung choirs", len(remixer.resung))
    run = SystemRun(config)
    return learn(
        run,
        out,
        start_from,
        draw=lambda step: draw(remixer, config, step),
        score=lambda: validate_system(run.average, held, config),
    )


def draw(remixer: Remixer, config: SystemConfig, step: int) -> Material:
    """The material of one step: always the same for the same seed, step and choirs."""
    rng = np.random.default_rng((config.seed, step, 2))
    return choose_voices(remixer.batch(step, config.batch_size), config.voice_count, rng)
