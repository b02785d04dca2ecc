"""The flagship's stages: which half learns, from which losses, and how good it is on a singer it has never heard.

    divisi train chorus_pitch --data DATA --cache CACHE --out RUN

DATA holds `nino_dios/`; CACHE holds `labels/nino_dios/` and, where made, `resung/` (see `choirs`).
RUN receives config.yaml, log.csv and checkpoint.pt.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from divisi_workshop.choirs.takes import (
    EXCERPT_LENGTH,
    SAMPLE_RATE,
    Choir,
    Excerpt,
    cut_excerpts,
    excerpt,
    load_nino_dios,
    load_resung,
)
from divisi_workshop.config import STRICT
from divisi_workshop.learning import losses
from divisi_workshop.learning.learning import LearningRun, RunConfig, learn
from divisi_workshop.learning.losses import disturb, hold, masked
from divisi_workshop.learning.remix import Batch, Remixer
from divisi_workshop.metrics import frame_si_sdr_db, mean_of_known
from divisi_workshop.networks.chorus import Chorus, build, whole

logger = logging.getLogger(__name__)

VALIDATION_SECONDS = (4.0, 100.0)
PITCH_TOLERANCE_CENTS = 50.0


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
        super().__init__(config, network, [parts.get(config.stage, network.mask)], torch.optim.AdamW)

    def set_modes(self) -> None:
        self.network.train()
        self.network.pitch.train(self.config.stage in (Stage.PITCH, Stage.JOINT))

    def losses(self, material: Batch) -> dict[str, Tensor]:
        return batch_losses(self.network, material, self.config, self.step)

    def learned_names(self, state: dict[str, Any]) -> tuple[str, ...]:
        """`pitch`, `mask` (also of an adapting run), who sings, or all, as of a checkpoint that names no stage."""
        prefixes = {"pitch": "pitch.", "presence": "pitch.presence.", "mask": "mask.", "adapt": "mask.", "joint": ""}
        return (prefixes[state["config"].get("stage", "joint")],)


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


@dataclasses.dataclass(frozen=True)
class HeldExcerpt(Excerpt):
    """With the tracks (V, N) of its voices."""

    f0_hz: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scores:
    """Means over all excerpts and voices that sing. `per_voice_db` is in score order."""

    si_sdr_db: float
    mixture_db: float
    per_voice_db: tuple[float, ...]
    pitch_accuracy: float
    """Share of voiced frames found within 50 cents, by the right voice."""
    silence_accuracy: float
    """Share of unvoiced frames found unvoiced."""


def held_excerpts(choir: Choir, first_second: float, last_second: float, hop_length: int) -> list[HeldExcerpt]:
    """Consecutive excerpts of the first singer of every voice, which nobody has learned from."""
    num_samples = round((min(last_second, choir.seconds) - first_second) * SAMPLE_RATE)
    cut = [excerpt(voice[0], first_second, 0.0, num_samples, hop_length) for voice in choir.parts]
    tracks = np.stack([track for _, track in cut])
    held = []
    for item in cut_excerpts(np.stack([samples for samples, _ in cut])):
        first = item.start // hop_length
        f0_hz = tracks[:, first : first + EXCERPT_LENGTH // hop_length + 1]
        held.append(HeldExcerpt(item.start, item.mixture, item.sources, f0_hz))
    return held


@torch.no_grad()
def validate(network: Chorus, excerpts: list[HeldExcerpt], true_pitch: bool = False) -> Scores:
    """Score a network on excerpts; with `true_pitch` the masks get the labels instead of the tracker's word."""
    was_training = network.training
    network.eval()
    scores: list[np.ndarray] = []
    untouched: list[np.ndarray] = []
    found: list[np.ndarray] = []
    quiet: list[np.ndarray] = []
    for item in excerpts:
        mixture = torch.from_numpy(item.mixture)[None, None]
        estimates, f0_hz, *_ = network(mixture, torch.ones(1, len(item.sources)))
        if true_pitch:
            estimates = with_true_pitch(network, mixture, item.f0_hz)
        scores.append(frame_si_sdr_db(estimates[0, :, 0].numpy(), item.sources, EXCERPT_LENGTH))
        mixtures = np.broadcast_to(item.mixture, item.sources.shape)
        untouched.append(frame_si_sdr_db(mixtures, item.sources, EXCERPT_LENGTH))
        tracked = f0_hz[0].numpy()
        voiced = item.f0_hz > 0
        cents = 1200 * np.abs(np.log2(np.maximum(tracked, 1.0) / np.maximum(item.f0_hz, 1.0)))
        found.append(cents[voiced] < PITCH_TOLERANCE_CENTS)
        quiet.append(tracked[~voiced] == 0)
    network.train(was_training)
    return Scores(
        si_sdr_db=mean_of_known(np.stack(scores)),
        mixture_db=mean_of_known(np.stack(untouched)),
        per_voice_db=tuple(map(mean_of_known, np.concatenate(scores, axis=1))),
        pitch_accuracy=mean_of_known(np.concatenate(found).astype(float)),
        silence_accuracy=mean_of_known(np.concatenate(quiet).astype(float)),
    )


def with_true_pitch(network: Chorus, mixture: Tensor, f0_hz: np.ndarray) -> Tensor:
    """Estimates from labels in place of the tracker's word. Shape: (1, 1, T), (4, N) -> (1, 4, 1, T)."""
    signal = mixture[:, 0] / mixture.square().mean().sqrt()
    real, imag, wide, narrow = network.spectra(signal)
    held = torch.from_numpy(hold(f0_hz[None]).astype(np.float32))
    voicing = torch.from_numpy((f0_hz[None] > 0).astype(np.float32))
    roster = torch.ones(1, len(f0_hz))
    _, partials, masks, rest = network.split(signal, (real, imag), wide, narrow, held, voicing, roster)
    shares = masked(masks, rest)
    spectra = [whole(own, share.shape[2])[0] + share[0] for own, share in zip(partials, shares, strict=True)]
    waves = network.fourier.synthesise(*spectra)
    return waves[None, :, None]


def load_network(checkpoint: Path) -> Chorus:
    """The averaged network of a checkpoint, ready to run."""
    state = torch.load(checkpoint, weights_only=True)
    network = build(state["config"]["network"])
    assert isinstance(network, Chorus)
    network.load_state_dict(state["average"], strict=False)
    return network.eval()
