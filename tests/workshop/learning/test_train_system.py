"""The loop of the published systems: schedules, what learns, resuming, and what a run leaves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from divisi_workshop.choirs.takes import Choir
from divisi_workshop.config import plain, read_values
from divisi_workshop.learning.remix import Remixer, RemixOptions
from divisi_workshop.networks.spectral import ShortTimeFourier
from divisi_workshop.published import losses, umss
from divisi_workshop.published.config import (
    LossWeights,
    Part,
    Pitch,
    SystemConfig,
    merge,
    parse_system,
)
from divisi_workshop.published.train import SystemRun, choose_voices, draw, train_system

SCHEDULES = {
    "multi_f0": ["multi_f0"],
    "assigner": ["assigner"],
    "umss_satb": ["separator"],
    "umss_duo": ["separator"],
    "umss_1s": ["separator"],
    "umss_1s_again": ["separator"],
    "va_nn": ["separator"],
    "va_nn_0": ["separator", "assigner", "multi_f0"],
    "va_nn_1": ["separator", "assigner"],
    "warmup_f0": ["assigner"],
    "warmup_separator": ["separator"],
    "warmup": ["separator", "assigner", "multi_f0"],
    "unet_satb": ["unet"],
    "unet_satb_efficient": ["unet"],
    "unet_satb_efficient_again": ["unet"],
    "unet_duo": ["unet"],
}
TINY_FRONT: dict[str, Any] = {
    "hcqt": {"harmonic_count": 2, "bins_per_octave": 12, "bin_count": 51},
    "first_channels": 2,
    "channels": 2,
    "square_count": 1,
    "tall_height": 6,
    "tall_count": 1,
    "late_channels": 2,
    "full_channels": 2,
}
TINY: dict[str, Any] = {
    "multi_f0": TINY_FRONT,
    "assigner": {"square_channels": 2, "channels": 2, "tall_height": 6},
    "separator": {"encoder_hidden": 8, "embedding": 4, "decoder_hidden": 8, "decoder_layers": 1},
}
TINY_UNET: dict[str, Any] = {
    "first_channels": 2,
    "depth": 2,
    "condition_channels": [4],
    "pitch": {"multi_f0": TINY_FRONT},
}


def tiny(name: str, **changes: Any) -> SystemConfig:
    """A shipped schedule with a tiny network and short excerpts."""
    values = read_values(name)
    values["network"] = merge(values["network"], TINY_UNET if name.startswith("unet") else TINY)
    config = parse_system(values)
    remix = RemixOptions(excerpt_seconds=0.512, hop_length=256, missing_share=0.0)
    return replace(config, batch_size=2, singers=(1,), steps=4, warmup_steps=1, remix=remix, **changes)


def remixer(config: SystemConfig, choir: Choir) -> Remixer:
    return Remixer([choir], [], config.remix, config.seed)


def changed_parts(run: SystemRun, material: Any) -> set[str]:
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train_step(material)
    changed = {name for name, value in run.network.state_dict().items() if not torch.equal(value, before[name])}
    return {"assigner" if ".assigner." in name else name.split(".")[name.startswith("pitch.")] for name in changed}


@pytest.mark.parametrize("name", SCHEDULES)
def test_in_every_schedule_exactly_the_named_parts_learn(name: str, choir: Choir) -> None:
    config = tiny(name)
    run = SystemRun(config)
    assert changed_parts(run, draw(remixer(config, choir), config, 0)) == set(SCHEDULES[name])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_survives_being_written_down(name: str) -> None:
    config = parse_system(read_values(name))
    assert parse_system(yaml.safe_load(yaml.safe_dump(plain(config)))) == config


def test_the_published_weights_of_the_joint_losses_are_kept() -> None:
    joint = read_values("va_nn_0")
    assert parse_system(joint).weights == LossWeights(reconstruction=1, salience=1e4, voices=1e5, commitment=1e4)


def test_the_validation_singer_cannot_be_trained_on() -> None:
    with pytest.raises(ValueError, match="singer 1"):
        tiny("umss_satb", validation_singer=1)


def test_f0_networks_that_learn_beside_a_separator_keep_their_statistics(choir: Choir) -> None:
    config = tiny("va_nn_0")
    run = SystemRun(config)
    statistics = run.network.pitch.multi_f0.late[2].running_mean.clone()
    run.train_step(draw(remixer(config, choir), config, 0))
    assert torch.equal(run.network.pitch.multi_f0.late[2].running_mean, statistics)


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(choir: Choir, tmp_path: Path) -> None:
    config = tiny("va_nn_1")
    source = remixer(config, choir)
    unbroken, stopped, resumed = SystemRun(config), SystemRun(config), SystemRun(config)
    for run, steps in ((unbroken, 3), (stopped, 1)):
        for _ in range(steps):
            run.train_step(draw(source, config, run.step))
    stopped.save(tmp_path / "checkpoint.pt")
    resumed.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        resumed.train_step(draw(source, config, resumed.step))
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_start_from_another_width_is_refused(tmp_path: Path) -> None:
    SystemRun(tiny("multi_f0")).save(tmp_path / "front.pt")
    values = read_values("multi_f0")
    values["network"] = merge(values["network"], merge(TINY, {"multi_f0": {"channels": 3}}))
    with pytest.raises(
        ValueError, match=r"another width: pitch\.multi_f0\.\S+ is \(2, .* in .*front\.pt, \(3, .* here"
    ):
        SystemRun(parse_system(values)).start_from(tmp_path / "front.pt")


def test_a_run_hands_on_what_it_has_trained(tmp_path: Path) -> None:
    front, separator = SystemRun(tiny("multi_f0")), SystemRun(tiny("unet_satb", seed=9))
    front.save(tmp_path / "front.pt")
    separator.start_from(tmp_path / "front.pt")
    theirs, ours = front.average.pitch.multi_f0.state_dict(), separator.average.pitch.multi_f0.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_steps_on_one_batch_lower_the_loss(choir: Choir) -> None:
    config = tiny("umss_1s", learning_rate=1e-2)
    run = SystemRun(replace(config, steps=1000))
    material = draw(remixer(config, choir), config, 0)
    first = sum(run.train_step(material).values())
    for _ in range(15):
        last = sum(run.train_step(material).values())
    assert last < 0.95 * first


def test_a_whole_run_leaves_configuration_log_and_a_checkpoint_that_builds(
    data_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = tiny("umss_duo", held_excerpts=1)
    scores = train_system(replace(config, steps=2), *data_folders, tmp_path / "run", [])
    assert np.isfinite(scores.si_sdr_db)
    assert 0 <= scores.voice_accuracy <= 1
    assert parse_system(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())).system == "umss-duo"
    assert "si_sdr_db" in (tmp_path / "run" / "log.csv").read_text()
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    umss.build(state["config"]["network"]).load_state_dict(state["average"])


@pytest.mark.parametrize("voice_count", [1, 2, 4])
def test_mixtures_are_the_sums_of_the_chosen_voices_at_peak_one(voice_count: int, choir: Choir) -> None:
    options = RemixOptions(excerpt_seconds=0.512, hop_length=256, noise_db=(-200.0, -199.0), missing_share=0.0)
    batch = Remixer([choir], [], options, 1).batch(0, 3)
    material = choose_voices(batch, voice_count, np.random.default_rng(0))
    assert material.sources.shape == (3, voice_count, 8192)
    assert material.f0_hz.shape[:2] == (3, voice_count)
    assert np.abs(material.sources.sum(1) - material.mixture).max() < 1e-4
    assert np.abs(material.mixture).max(1) == pytest.approx(1.0)


def test_a_silent_voice_is_not_chosen_while_another_sounds(choir: Choir) -> None:
    options = RemixOptions(excerpt_seconds=0.512, hop_length=256, missing_share=1.0)
    batch = Remixer([choir], [], options, 1).batch(0, 8)
    material = choose_voices(batch, 1, np.random.default_rng(0))
    assert (np.abs(material.sources).max((1, 2)) > 0).all()


def test_the_spectral_loss_hears_differences_at_every_size_and_none_where_there_is_none() -> None:
    signal = torch.randn(2, 4096)
    assert losses.spectral_loss(signal, signal) == 0
    assert losses.spectral_loss(signal, 0.5 * signal) > losses.spectral_loss(signal, 0.9 * signal) > 0
    assert losses.magnitudes(signal, 64).shape == (2, 33, 4096 // 16)


def test_the_register_loss_sees_only_what_lies_outside() -> None:
    frequencies_hz = torch.tensor([100.0, 300.0, 700.0])
    salience = torch.zeros(1, 4, 3, 1)
    salience[0, 0, 2] = salience[0, 3, 0] = 1.0  # a soprano at 700 Hz, a bass at 100 Hz
    assert losses.register_loss(salience, frequencies_hz) == 0
    salience[0, 0, 0] = 1.0
    assert losses.register_loss(salience, frequencies_hz) == pytest.approx(1 / 12)


def test_gradients_of_the_salience_loss_do_not_reach_the_estimator() -> None:
    salience, by_voice = torch.rand(1, 1, 3, 2, requires_grad=True), torch.rand(1, 4, 3, 2, requires_grad=True)
    losses.salience_loss(by_voice, salience).backward()
    assert salience.grad is None
    assert by_voice.grad is not None


def test_maps_of_true_pitches_are_ridges_with_a_peak_of_one() -> None:
    frequencies_hz = 110.0 * 2 ** (torch.arange(36.0) / 12)
    maps = losses.pitch_maps(torch.tensor([[[220.0, 0.0]]]), frequencies_hz)
    assert maps[0, 0, :, 0].argmax() == 12
    assert maps[0, 0, 12, 0] == pytest.approx(1.0)
    assert maps[0, 0, 13, 0] == pytest.approx(np.exp(-0.5), abs=1e-3)
    assert (maps[..., 1] == 0).all()


def test_one_voice_training_uses_labels() -> None:
    assert tiny("umss_1s").pitch is Pitch.LABELS
    assert tiny("umss_1s").learns == (Part.SEPARATOR,)


class KnowsNothing:
    """A U-Net system whose every estimate is silence."""

    def __init__(self) -> None:
        self.fourier = ShortTimeFourier(1024, 256)
        self.spectrum = self.fourier.analyse

    def unet(self, heard: torch.Tensor, f0_hz: torch.Tensor) -> torch.Tensor:
        return 0 * heard


@pytest.mark.parametrize("is_relative", [False, True])
def test_the_relative_loss_alone_counts_quiet_voices_as_loud_ones(is_relative: bool) -> None:
    noise = torch.randn(1, 8192)
    loud, quiet = (
        float(losses.magnitude_loss(KnowsNothing(), noise, level * noise[:, None], torch.ones(1, 1, 32), is_relative))
        for level in (1.0, 0.1)
    )
    assert quiet / loud == pytest.approx(1.0 if is_relative else 0.1, rel=1e-4)
    silent = losses.magnitude_loss(KnowsNothing(), noise, 0 * noise[:, None], torch.ones(1, 1, 32), is_relative)
    assert float(silent) == pytest.approx(0.0, abs=1e-6)


WIDTHS = sorted((Path(__file__).parents[3] / "benchmarks" / "widths").glob("*.yaml"))


@pytest.mark.parametrize("path", WIDTHS, ids=lambda path: path.stem)
def test_runs_that_compare_widths_differ_from_what_is_served_in_width_alone(path: Path) -> None:
    values = read_values(str(path))
    config = parse_system(values)
    base = {"separator": "umss_1s", "unet": "unet_satb_efficient_again", "multi": "multi_f0"}
    shipped = read_values(base[path.stem.split("_")[0]])
    assert config.weights == parse_system(shipped).weights
    assert config.learns == parse_system(shipped).learns
    is_served = config.network == parse_system(shipped).network
    assert is_served == path.stem.endswith("_served")
