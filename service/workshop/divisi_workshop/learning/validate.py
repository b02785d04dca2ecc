"""How good a checkpoint is on a singer it has never heard: SI-SDR of whole excerpts, and pitch accuracy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE, Choir, Excerpt, cut_excerpts, excerpt
from divisi_workshop.learning.losses import hold, masked
from divisi_workshop.metrics import frame_si_sdr_db, mean_of_known
from divisi_workshop.networks.chorus import Chorus, build, whole

PITCH_TOLERANCE_CENTS = 50.0


@dataclass(frozen=True)
class HeldExcerpt(Excerpt):
    """With the tracks (V, N) of its voices."""

    f0_hz: np.ndarray


@dataclass(frozen=True)
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
