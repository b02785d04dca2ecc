"""The published systems: which parts learn, from which weighted losses; the loop is that of `learning`.

    divisi train umss_satb --data DATA --cache CACHE --out RUN

Folders and what RUN receives are those of `train`. F0 networks come first (`multi_f0`, then `assigner`); separators
are started from their checkpoints (`--start-from`), which hand over every part they have trained.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from divisi_workshop.choirs.choir_folders import load_dataset
from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE, Choir, load_nino_dios, load_resung
from divisi_workshop.learning.learning import LearningRun, learn
from divisi_workshop.learning.remix import Batch, Remixer
from divisi_workshop.learning.train import held_excerpts
from divisi_workshop.metrics import frame_si_sdr_db, mean_of_known
from divisi_workshop.published import umss, unet
from divisi_workshop.published.config import NINO_DIOS, Part, SystemConfig
from divisi_workshop.published.hcqt import Hcqt
from divisi_workshop.published.losses import Material, batch_losses

logger = logging.getLogger(__name__)
PREFIXES = {
    Part.MULTI_F0: "pitch.multi_f0.",
    Part.ASSIGNER: "pitch.assigner.",
    Part.SEPARATOR: "separator.",
    Part.UNET: "unet.",
}
FIRST_SECOND, LAST_SECOND = 3.984, 100.0
SHORT_SECONDS = 12.0
PEAK_THRESHOLD = 0.3
TOLERANCE_CENTS = 50.0


class SystemRun(LearningRun[SystemConfig, Any, Material]):
    """A schedule of a published system, or a stage of one."""

    def __init__(self, config: SystemConfig) -> None:
        torch.manual_seed(config.seed)
        sizes = config.network
        network = unet.UnetSeparator(sizes) if isinstance(sizes, unet.UnetConfig) else umss.Umss(sizes)
        learning = [module for part in config.learns if (module := find_part(network, part)) is not None]
        super().__init__(config, network, learning, torch.optim.Adam)

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


def find_part(network: nn.Module, part: Part) -> nn.Module | None:
    """The module of a part, None where the network has none."""
    module: Any = network
    for name in PREFIXES[part].strip(".").split("."):
        module = getattr(module, name, None)
    return module


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


def choose_voices(batch: Batch, voice_count: int, rng: np.random.Generator) -> Material:
    """All four voices, or for each example a random pair or a random single one; noise stays out of small mixtures."""
    if voice_count == batch.sources.shape[1]:
        return at_peak(batch.mixture, batch.sources, batch.f0_hz)
    chosen = np.stack([pick(rng, sources, voice_count) for sources in batch.sources])
    sources = np.take_along_axis(batch.sources, chosen[:, :, None], 1)
    return at_peak(sources.sum(1), sources, np.take_along_axis(batch.f0_hz, chosen[:, :, None], 1))


def pick(rng: np.random.Generator, sources: np.ndarray, voice_count: int) -> np.ndarray:
    """Voices of one example (4, T), sounding ones first, in score order. Shape: (voice_count,)."""
    silent = np.abs(sources).max(1) == 0
    order = rng.permutation(len(sources))
    return np.sort(order[np.argsort(silent[order], kind="stable")][:voice_count])


def at_peak(mixture: np.ndarray, sources: np.ndarray, f0_hz: np.ndarray) -> Material:
    peak = np.maximum(np.abs(mixture).max(1), 1e-6).astype(np.float32)
    return Material(mixture / peak[:, None], sources / peak[:, None, None], f0_hz)


@dataclass(frozen=True)
class SystemScores:
    """Shares are of voiced frames, within 50 cents; SI-SDR in dB over 1 s frames in which the voice sings."""

    peak_recall: float
    """A peak of the mixture's salience lies at the true pitch."""
    voice_accuracy: float
    """The right voice was given the true pitch; of pairs and quartets."""
    si_sdr_db: float
    median_db: float
    per_voice_db: tuple[float, ...]


def first_second(choir: Choir) -> float:
    """The published evaluation skips the first excerpt of a song; the short parts of BC and BQ begin at 0.04 s."""
    return FIRST_SECOND if choir.seconds > SHORT_SECONDS else 0.04


@torch.no_grad()
def validate_system(network: Any, held: Sequence[Choir], config: SystemConfig) -> SystemScores:
    """Score a network on excerpts of choirs of single singers."""
    excerpts = [item for choir in held for item in held_excerpts(choir, first_second(choir), LAST_SECOND, 256)]
    excerpts = excerpts[: config.held_excerpts]
    voice_total = len(held[0].parts)
    # A network for one voice at a time is run on as many as its heuristic hands out.
    voice_count = min(network.pitch.voice_count, voice_total)
    groups = list(combinations(range(voice_total), voice_count))
    separates = bool({Part.SEPARATOR, Part.UNET} & set(config.learns))
    recall: list[np.ndarray] = []
    right: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for number, item in enumerate(excerpts):
        # Pairs take turns, so that every pair is heard without separating each excerpt six times.
        group = list(groups[number % len(groups)])
        sources, f0_hz = item.sources[group], item.f0_hz[group]
        mixture = sources.sum(0)
        peak = max(float(np.abs(mixture).max()), 1e-9)
        sources, signal = sources / peak, torch.from_numpy(mixture / peak)[None]
        salience = network.pitch.multi_f0(signal)
        recall.append(peak_recall(network, salience, f0_hz))
        if config.learns == (Part.MULTI_F0,):
            continue
        found_hz = network.pitch.to_grid(network.pitch.assign(salience), signal.shape[1] // 256)[0].numpy()
        true_hz = f0_hz[:, : found_hz.shape[1]]
        right.append(is_near(found_hz, true_hz)[true_hz > 0])
        if separates:
            estimates = network(signal[:, None])[0][0, :, 0].numpy()
            own = np.full((voice_total, EXCERPT_LENGTH // SAMPLE_RATE), np.nan)
            own[group] = frame_si_sdr_db(estimates, sources, SAMPLE_RATE)
            scores.append(own)
    by_voice = np.concatenate(scores or [np.empty((voice_total, 0))], axis=1)
    known = by_voice[~np.isnan(by_voice)]
    return SystemScores(
        peak_recall=mean_of_known(np.concatenate(recall).astype(float)),
        voice_accuracy=mean_of_known(np.concatenate(right or [np.empty(0)]).astype(float)),
        si_sdr_db=mean_of_known(known),
        median_db=float(np.median(known)) if known.size else float("nan"),
        per_voice_db=tuple(map(mean_of_known, by_voice)),
    )


def peak_recall(network: nn.Module, salience: Tensor, f0_hz: np.ndarray) -> np.ndarray:
    """Whether each voiced frame has a peak at its pitch. Shape: (1, 1, K, N), (V, N') -> (voiced,)."""
    hcqt = cast(Hcqt, network.get_submodule("pitch.multi_f0.hcqt"))
    values = salience[0, 0].numpy()
    middle = values[1:-1]
    is_peak = (middle > values[:-2]) & (middle >= values[2:]) & (middle >= PEAK_THRESHOLD)
    frequencies_hz = hcqt.frequencies_hz().numpy()[1:-1, None]
    seconds = np.arange(values.shape[1]) * hcqt.config.hop_length / hcqt.config.sample_rate
    frames = np.minimum(np.round(seconds * SAMPLE_RATE / 256).astype(int), f0_hz.shape[1] - 1)
    return np.concatenate([(is_peak & is_near(frequencies_hz, true)).any(0)[true > 0] for true in f0_hz[:, frames]])


def is_near(found_hz: np.ndarray, true_hz: np.ndarray) -> np.ndarray:
    """Within 50 cents. Any shapes that broadcast."""
    return 1200 * np.abs(np.log2(np.maximum(found_hz, 1.0) / np.maximum(true_hz, 1.0))) <= TOLERANCE_CENTS
