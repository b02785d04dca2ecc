"""The loop: it resumes as if it had never stopped, it learns, and halves can be put together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from divisi_workshop.choirs.takes import Choir
from divisi_workshop.learning.remix import Remixer, RemixOptions
from divisi_workshop.learning.train import Run, Stage, TrainConfig, load_material, train

TINY = TrainConfig(
    stage=Stage.JOINT,
    steps=4,
    batch_size=1,
    warmup_steps=1,
    singers=(1,),
    save_every=2,
    validate_every=100,
    remix=RemixOptions(excerpt_seconds=0.5),
    network={
        "pitch_channels": 8,
        "pitch_hidden": 8,
        "refined_hidden": 8,
        "mask_channels": 8,
        "detail_channels": 4,
        "band_hidden": 8,
    },
)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True)["average"])


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(choir: Choir, tmp_path: Path) -> None:
    remixer = Remixer([choir], [], TINY.remix, TINY.seed)

    def advance(run: Run, steps: int) -> None:
        for _ in range(steps):
            run.train_step(remixer.batch(run.step, TINY.batch_size))

    unbroken, stopped, resumed = Run(TINY), Run(TINY), Run(TINY)
    advance(unbroken, 4)
    advance(stopped, 2)
    stopped.save(tmp_path / "checkpoint.pt")
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.step == 2
    advance(resumed, 2)
    for name, value in unbroken.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    for name, value in unbroken.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_whole_run_leaves_configuration_log_and_a_safe_checkpoint(
    data_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    scores = train(TINY, *data_folders, tmp_path / "run", [])
    assert np.isfinite(scores.si_sdr_db)
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["stage"] == "joint"
    assert "si_sdr_db" in (tmp_path / "run" / "log.csv").read_text()
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 4


def test_the_validation_singer_is_in_no_training_choir(data_folders: tuple[Path, Path]) -> None:
    real, held = load_material(TINY, *data_folders)
    assert {part.name for choir in real for voice in choir.parts for part in voice} == {
        "soprano_1",
        "alto_1",
        "tenor_1",
        "bass_1",
    }
    assert len(held) == 1


PARTS = {Stage.PITCH: "pitch.", Stage.PRESENCE: "pitch.presence.", Stage.MASK: "mask."}


@pytest.mark.parametrize("stage", PARTS)
def test_a_stage_trains_its_own_part_and_hands_it_on(stage: Stage, choir: Choir, tmp_path: Path) -> None:
    config = replace(TINY, stage=stage)
    run = Run(config)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.train_step(Remixer([choir], [], config.remix, config.seed).batch(0, 1))
    changed = {name for name, value in run.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(PARTS[stage]) for name in changed)

    run.save(tmp_path / "part.pt")
    joint = Run(replace(TINY, seed=9))
    joint.start_from(tmp_path / "part.pt")
    taken = weights(tmp_path / "part.pt")
    for name, value in joint.network.state_dict().items():
        assert torch.equal(value, taken[name]) == name.startswith(PARTS[stage]) or (
            any(word in name for word in ("norm", "bias", "absence", "trust", "refine.leave", ".answer."))
        ), name


def test_steps_on_one_batch_lower_its_losses(choir: Choir) -> None:
    run = Run(replace(TINY, steps=1000))
    batch = Remixer([choir], [], TINY.remix, TINY.seed).batch(0, 1)
    first = sum(run.train_step(batch).values())
    for _ in range(14):
        last = sum(run.train_step(batch).values())
    assert last < first - 1


def test_a_run_of_no_steps_puts_two_halves_together(data_folders: tuple[Path, Path], tmp_path: Path) -> None:
    for seed, stage in enumerate((Stage.PITCH, Stage.ADAPT)):
        Run(replace(TINY, stage=stage, seed=seed)).save(tmp_path / f"{stage}.pt")
    whole = replace(TINY, steps=0, seed=7)
    train(whole, *data_folders, tmp_path / "run", [tmp_path / "pitch.pt", tmp_path / "adapt.pt"])
    made = weights(tmp_path / "run" / "checkpoint.pt")
    for name, value in made.items():
        if name.startswith("refine."):
            continue  # learned after all of these stages, by `refine`
        half = "pitch" if name.startswith("pitch.") else "adapt"
        assert torch.equal(value, weights(tmp_path / f"{half}.pt")[name]), name


def test_a_checkpoint_that_names_no_stage_is_taken_over_whole(tmp_path: Path) -> None:
    trained, run = Run(replace(TINY, seed=3)), Run(replace(TINY, seed=4))
    torch.save({"config": {"network": None}, "average": trained.average.state_dict()}, tmp_path / "whole.pt")
    run.start_from(tmp_path / "whole.pt")
    for name, value in trained.average.state_dict().items():
        assert torch.equal(run.network.state_dict()[name], value), name
