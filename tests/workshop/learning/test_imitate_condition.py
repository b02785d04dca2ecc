"""The original condition starts from what the efficient one says: by least squares, then by gradients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.workshop.learning.test_train_system import TINY_UNET

from divisi_workshop.choirs.takes import Part
from divisi_workshop.learning import imitate_condition
from divisi_workshop.learning.imitate_condition import Tracks, imitate, mean_by_place, said, set_by_least_squares, start
from divisi_workshop.learning.system_config import find_config, merge, parse_system
from divisi_workshop.learning.train_system import SystemRun
from divisi_workshop.networks import unet
from divisi_workshop.networks.spectral import ShortTimeFourier

CONFIG = replace(unet.served(), condition_channels=(24, 24, 32), perceptron_hidden=16)


def glides(seed: int) -> list[Part]:
    """Singers who slide about for 8 s, with rests."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, middle_hz in enumerate((440.0, 330.0, 220.0, 130.0)):
        walk = np.cumsum(0.02 * rng.standard_normal(1600))
        f0_hz = (middle_hz * 2 ** np.clip(walk, -0.6, 0.6)).astype(np.float32)
        f0_hz[400:500] = 0
        parts.append(Part(f"{number}", np.zeros(128_000, np.int16), f0_hz))
    return parts


def conditions() -> tuple[unet.OriginalCondition, unet.EfficientCondition]:
    torch.manual_seed(0)
    fourier = ShortTimeFourier(unet.WINDOW_LENGTH, unet.HOP_LENGTH)
    return unet.OriginalCondition(fourier.bin_count, CONFIG), unet.EfficientCondition(fourier, CONFIG).eval()


def error(condition: torch.nn.Module, teacher: torch.nn.Module, tracks: Tracks) -> float:
    with torch.no_grad():
        f0_hz = tracks.batch(16)
        return float((said(condition, f0_hz) - said(teacher, f0_hz)).square().mean())


def test_tracks_are_stretches_of_what_was_sung_within_four_semitones() -> None:
    f0_hz = Tracks(glides(0), seed=1).batch(32)
    sung = f0_hz[f0_hz > 0]
    assert f0_hz.shape == (32, 128)
    assert 0 < len(sung) < f0_hz.numel()
    assert sung.min() > 130 * 2**-0.6 * 2 ** (-4 / 12) * 0.999
    assert sung.max() < 440 * 2**0.6 * 2 ** (4 / 12) * 1.001


def test_singers_who_sang_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match="no part lasts"):
        Tracks([Part("short", np.zeros(1, np.int16), np.zeros(100, np.float32))], seed=1)


def test_each_step_brings_the_condition_nearer_to_the_teacher() -> None:
    condition, teacher = conditions()
    parts = glides(0)
    untaught = error(condition, teacher, Tracks(parts, seed=5))
    missed = set_by_least_squares(condition, *mean_by_place(teacher, Tracks(parts, seed=1), 30))
    assert 0 < missed < 0.2
    by_least_squares = error(condition, teacher, Tracks(parts, seed=5))
    imitate(condition, teacher, Tracks(parts, seed=2), steps=40, learning_rate=3e-3)
    by_gradients = error(condition, teacher, Tracks(parts, seed=5))
    assert by_gradients < by_least_squares
    assert by_least_squares < 0.5 * untaught


def test_the_start_has_the_teachers_body_and_starts_the_unet_of_the_schedule(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(imitate_condition, "TABLE_BATCHES", 3)
    tiny = {**TINY_UNET, "condition_channels": [24, 24], "perceptron_hidden": 16}
    values = find_config("unet_satb")
    assert values is not None
    efficient = parse_system({**values, "network": merge(values["network"], {**tiny, "condition": "efficient"})})
    original = parse_system({**values, "network": merge(values["network"], tiny)})
    taught = SystemRun(efficient)
    taught.save(tmp_path / "teacher.pt")
    run = start(original, tmp_path / "teacher.pt", glides(0), steps=2, rate=1e-4)
    run.save(tmp_path / "start.pt")
    found = SystemRun(original)
    found.start_from(tmp_path / "start.pt")
    body, condition = taught.average.state_dict(), run.network.state_dict()
    for name, value in found.network.state_dict().items():
        if name.startswith("unet.condition."):
            assert torch.equal(value, condition[name])
        elif name.startswith("unet."):
            assert torch.equal(value, body[name])
