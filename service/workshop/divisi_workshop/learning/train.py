"""The flagship's stages: which half learns, from which losses; the loop is that of `learning`.

    divisi train chorus_pitch --data DATA --cache CACHE --out RUN

DATA holds `nino_dios/`; CACHE holds `labels/nino_dios/` and, where made, `resung/` (see `choirs`).
RUN receives config.yaml, log.csv and checkpoint.pt.
"""

import logging
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from divisi_workshop.choirs.takes import Choir, load_nino_dios, load_resung
from divisi_workshop.config import STRICT
from divisi_workshop.learning import losses
from divisi_workshop.learning.learning import LearningRun, RunConfig, learn
from divisi_workshop.learning.losses import disturb
from divisi_workshop.learning.remix import Batch, Remixer
from divisi_workshop.learning.validate import HeldExcerpt, Scores, held_excerpts, validate
from divisi_workshop.networks.chorus import Chorus, build, whole

logger = logging.getLogger(__name__)

VALIDATION_SECONDS = (4.0, 100.0)


class Stage(StrEnum):
    """What learns: pitches from labels, who sings from a finished tracker, masks from disturbed labels, masks from what
    a tracker hears, or all.
    """

    PITCH = "pitch"
    PRESENCE = "presence"
    MASK = "mask"
    ADAPT = "adapt"
    JOINT = "joint"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig(RunConfig):
    """A stage, the weights of its losses, and what differs from the shipped network."""

    stage: Stage
    magnitude_weight: float = 20.0
    pitch_weight: float = 1.0
    presence_weight: float = 0.1
    network: dict[str, Any] = field(default_factory=dict)


class Run(LearningRun[TrainConfig, Chorus, Batch]):
    """A stage of the flagship's training."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        network = build(config.network)
        assert isinstance(network, Chorus)
        parts: dict[Stage, nn.Module] = {
            Stage.PITCH: network.pitch,
            Stage.PRESENCE: network.pitch.presence,
            Stage.JOINT: network,
        }

        def optimiser(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)

        super().__init__(config, network, [parts.get(config.stage, network.mask)], optimiser)

    def set_modes(self) -> None:
        self.network.train()
        self.network.pitch.train(self.config.stage in (Stage.PITCH, Stage.JOINT))

    def losses(self, material: Batch) -> dict[str, Tensor]:
        return batch_losses(self.network, material, self.config, self.step)

    def learned_names(self, state: dict[str, Any]) -> tuple[str, ...]:
        """`pitch`, `mask` (also of an adapting run), who sings, or all."""
        prefixes = {"pitch": "pitch.", "presence": "pitch.presence.", "mask": "mask.", "adapt": "mask.", "joint": ""}
        return (prefixes[state["config"]["stage"]],)


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
        shares = losses.masked(masks, rest)
        estimates = whole(partials[0], real.shape[1]) + shares[0], whole(partials[1], real.shape[1]) + shares[1]
        # Masks that explain the mixture alone give the partials an honest prior.
        parts["masked"] = 0.3 * losses.energy_loss(masked, (real, imag), sources)
        parts["energy"] = losses.energy_loss(estimates, (real, imag), sources)
        parts["magnitude"] = config.magnitude_weight * losses.magnitude_loss(estimates, sources)
    return parts


def spectra_of_sources(network: Chorus, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Shape: (B, 4, T) -> real and imaginary parts (B, 4, F, N)."""
    real, imag = network.fourier.analyse(sources.flatten(0, 1))
    return real.unflatten(0, sources.shape[:2]), imag.unflatten(0, sources.shape[:2])


def load_material(config: TrainConfig, data: Path, cache: Path) -> tuple[list[Choir], list[HeldExcerpt]]:
    """Real choirs, and the excerpts of the singer kept for validation."""
    folders = data / "nino_dios", cache / "labels" / "nino_dios"
    real = load_nino_dios(*folders, config.singers)
    held = load_nino_dios(*folders, (config.validation_singer,))
    return [real], held_excerpts(held, *VALIDATION_SECONDS, config.remix.hop_length)


def train(config: TrainConfig, data: Path, cache: Path, out: Path, start_from: list[Path]) -> Scores:
    """Train to the configured step, resuming `out/checkpoint.pt` if it is there; returns the last scores."""
    real, held = load_material(config, data, cache)
    known: dict[str, Choir] = {}
    remixer = Remixer(real, load_resung(cache / "resung", known), config.remix, config.seed)
    logger.info("%d re-sung choirs", len(remixer.resung))
    run = Run(config)

    def take_new_choirs() -> None:
        """Choirs still being made join as they come."""
        remixer.resung = load_resung(cache / "resung", known)

    return learn(
        run,
        out,
        start_from,
        draw=lambda step: remixer.batch(step, config.batch_size),
        score=lambda: validate(run.average, held, true_pitch=config.stage is Stage.MASK),
        on_save=take_new_choirs,
    )
