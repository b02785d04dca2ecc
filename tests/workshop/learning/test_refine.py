"""The refiner's training: it learns, it resumes, and the run on a borrowed machine works on a CPU in seconds."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from divisi.contract.errors import InputError
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Choir
from divisi_workshop.learning.choir_examples import (
    FRAMES,
    ExampleMaker,
    ExampleOptions,
    Source,
    first_stages,
    save_example,
)
from divisi_workshop.learning.refine import ExampleShelf, RefineConfig, RefineRun, distortion, refine, train
from divisi_workshop.learning.refine_run import main as borrowed
from divisi_workshop.networks.chorus import Chorus, ChorusConfig, build

TINY = ChorusConfig(
    pitch_channels=8,
    pitch_hidden=8,
    refined_hidden=8,
    mask_channels=8,
    detail_channels=4,
    band_hidden=8,
    refiner_channels=6,
)
CONFIG = RefineConfig(minutes=1e6, batch_size=1, crop_frames=24)
"""Of so many minutes that the learning rate does not depend on how fast the machine is."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("chorus") / "checkpoint.pt"
    earlier = {name: value for name, value in Chorus(TINY).state_dict().items() if not name.startswith("refine.")}
    torch.save({"config": {"network": asdict(TINY)}, "average": earlier}, path)
    return path


@pytest.fixture(scope="module")
def examples(choir: Choir, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    network = RefineRun(CONFIG, checkpoint, CPU).whole
    maker = ExampleMaker([Source(choir, 1.0)], [], ExampleOptions())
    for number in range(3):
        arrays = first_stages(network, maker.draw(np.random.default_rng(number)), CPU)
        save_example(folder / f"example_{number:06d}.npz", arrays)
    return folder


def test_it_learns(checkpoint: Path, examples: Path, tmp_path: Path) -> None:
    shutil.copy(examples / "example_000000.npz", tmp_path)
    config = replace(CONFIG, crop_frames=FRAMES + 1, learning_rate=1e-2)
    run, shelf = RefineRun(config, checkpoint, CPU), ExampleShelf(tmp_path)
    _, batch = shelf.batch(config, 0, CPU)
    before = distortion(batch.estimates, batch)
    assert torch.equal(distortion(refine(run.network, batch), batch), before)
    for _ in range(60):
        run.train_step(shelf)
    assert distortion(refine(run.network, batch), batch) < before - 0.2


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(
    checkpoint: Path, examples: Path, tmp_path: Path
) -> None:
    shelf = ExampleShelf(examples)
    unbroken, stopped, resumed = (RefineRun(CONFIG, checkpoint, CPU) for _ in range(3))
    stopped.train_step(shelf)
    stopped.save(tmp_path / "checkpoint.pt")
    resumed.load(tmp_path / "checkpoint.pt")
    assert (resumed.step, resumed.seconds) == (1, stopped.seconds)
    unbroken.train_step(shelf)
    for run in (unbroken, resumed):
        run.train_step(shelf)
    for name, value in unbroken.whole.state_dict().items():
        assert torch.equal(value, resumed.whole.state_dict()[name]), name


def test_nothing_but_the_refiner_learns(checkpoint: Path, examples: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, most_steps=2), checkpoint, examples, tmp_path, CPU)
    before = torch.load(checkpoint, weights_only=True)["average"]
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    build(state["config"]["network"]).load_state_dict(state["average"])  # as `divisi export` reads it: nothing lacks
    assert state["step"] == 2
    assert all(torch.equal(value, state["average"][name]) for name, value in before.items())
    assert state["average"]["refine.leave.weight"].any()


def test_a_run_without_examples_says_how_to_make_some(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choir_examples"):
        train(CONFIG, checkpoint, tmp_path, tmp_path / "run", CPU)


def test_a_borrowed_machine_needs_a_pack_and_its_run_resumes(
    data_folders: tuple[Path, Path], checkpoint: Path, tmp_path: Path
) -> None:
    data, cache, packed, out = tmp_path / "data", tmp_path / "cache", tmp_path / "pack", tmp_path / "out"
    (data / "nino_dios").mkdir(parents=True)
    for voice in VOICES:
        recording = (data_folders[0] / "nino_dios" / f"{voice}_1.flac").read_bytes()
        for singer in (1, 2, 3, 4):
            (data / "nino_dios" / f"{voice}_{singer}.flac").write_bytes(recording)
        (cache / "guests").mkdir(parents=True, exist_ok=True)
        takes = 0.1 * np.random.default_rng(1).standard_normal((10 * SAMPLE_RATE, 2))
        soundfile.write(cache / "guests" / f"choir_00000_{voice}.flac", takes, SAMPLE_RATE)
    (cache / "halls").mkdir()
    np.save(cache / "halls" / "hall_0000.npy", np.eye(12, 400, dtype=np.float16) + np.float16(0.01))

    common = ["--cache", str(cache), "--chorus", str(checkpoint), "--out", str(packed)]
    borrowed(["pack", "--data", str(data), *common])
    kept = {path.name for path in (packed / "nino_dios").iterdir()}
    assert kept == {f"{voice}_{singer}.flac" for voice in VOICES for singer in (1, 2, 3)}
    assert len(list((packed / "guests").iterdir())) == len(VOICES)

    steps = []
    for most in ("2", "4"):
        borrowed(
            [
                "train",
                "--pack",
                str(packed),
                "--out",
                str(out),
                "--minutes",
                "60",
                "--most-steps",
                most,
                "--examples",
                "2",
            ]
        )
        steps.append(torch.load(out / "checkpoint.pt", weights_only=True)["step"])
    assert steps == [2, 4]


def test_a_pack_that_cannot_fit_is_refused(data_folders: tuple[Path, Path], checkpoint: Path, tmp_path: Path) -> None:
    common = ["--cache", str(tmp_path), "--chorus", str(checkpoint), "--out", str(tmp_path / "pack")]
    with pytest.raises(InputError, match=r"limit is 0\.0 MiB"):
        borrowed(["pack", "--data", str(data_folders[0]), *common, "--limit-mib", "0.01"])
    assert not (tmp_path / "pack").exists()
