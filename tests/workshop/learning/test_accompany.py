"""Training of the stage that tells an accompaniment from voices: it learns, it resumes, it joins a flagship."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir, Part
from divisi_workshop.learning.accompaniment_examples import AccompaniedMaker
from divisi_workshop.learning.accompany import AccompanyConfig, AccompanyRun, SoundShelf, answer, join, train
from divisi_workshop.learning.choir_examples import LENGTH, ExampleOptions, Source, save_example
from divisi_workshop.networks.accompaniment import HOP_LENGTH
from divisi_workshop.networks.chorus import Chorus, ChorusConfig, build

CONFIG = AccompanyConfig(minutes=1e6, batch_size=2)
"""Of so many minutes that the learning rate does not depend on how fast the machine is."""
LENGTH_OF_TONES = 10 * HOP_LENGTH


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """Two of a wavering voice and a steady tone beside it."""
    times = np.arange(LENGTH_OF_TONES) / SAMPLE_RATE
    for number, (sung_hz, played_hz) in enumerate([(300, 410), (500, 660)]):
        voice = sum(
            np.sin(partial * (2 * np.pi * sung_hz * times + 2 * np.sin(2 * np.pi * 6 * times))) / partial
            for partial in (1, 2, 3)
        )
        played = np.sin(2 * np.pi * played_hz * times)
        sounds = np.round(8000 * np.stack([voice, played])).astype(np.int16)
        save_example(tmp_path / f"example_{number:06d}.npz", {"sounds": sounds})
    return tmp_path


def test_it_learns(examples: Path) -> None:
    run, shelf = AccompanyRun(replace(CONFIG, learning_rate=1e-2)), SoundShelf(examples)
    config = replace(CONFIG, absent_share=0.0, level_db=(0.0, 0.0))
    mixture, sung, _ = shelf.batch(config, 0)
    before = answer(run.network, mixture, sung)
    assert torch.allclose(before.after_db, before.before_db, atol=1e-3)
    for _ in range(15):
        run.train_step(shelf)
    assert (answer(run.network, mixture, sung).after_db - before.before_db).mean() > 1


def test_half_of_what_it_sees_is_not_accompanied_and_says_so(examples: Path) -> None:
    shelf = SoundShelf(examples)
    quiet = replace(CONFIG, noise_db=(-200.0, -200.0), absent_share=0.5, batch_size=40)
    mixture, sung, there = shelf.batch(quiet, 0)
    assert 8 <= there.sum() <= 32
    assert ((mixture - sung).abs().amax(1) > 1e-3).equal(there > 0.5)
    assert torch.allclose(mixture.std(1), torch.ones(40), atol=1e-2)


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(examples: Path, tmp_path: Path) -> None:
    shelf = SoundShelf(examples)
    unbroken, stopped, resumed = (AccompanyRun(CONFIG) for _ in range(3))
    stopped.train_step(shelf)
    stopped.save(tmp_path / "checkpoint.pt")
    resumed.load(tmp_path / "checkpoint.pt")
    resumed.train_step(shelf)
    for _ in range(2):
        unbroken.train_step(shelf)
    for mine, other in zip(resumed.average.parameters(), unbroken.average.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-4)


def test_joined_it_is_a_whole_flagship(examples: Path, tmp_path: Path) -> None:
    train(replace(CONFIG, most_steps=1), examples, tmp_path / "run")
    tiny = ChorusConfig(
        pitch_channels=8,
        pitch_hidden=8,
        refined_hidden=8,
        mask_channels=8,
        detail_channels=4,
        band_hidden=8,
        refiner_channels=4,
    )
    flagship = Chorus(tiny)
    torch.save({"config": {"network": asdict(tiny)}, "average": flagship.state_dict()}, tmp_path / "chorus.pt")
    join(tmp_path / "chorus.pt", tmp_path / "run" / "checkpoint.pt", tmp_path / "joined.pt")
    state = torch.load(tmp_path / "joined.pt", weights_only=True)
    joined = build(state["config"]["network"])
    joined.load_state_dict(state["average"])
    estimates, *_ = joined.eval()(0.1 * torch.randn(1, 1, 8192), torch.ones(1, 5))
    assert estimates.shape == (1, 5, 1, 8192)


def test_examples_are_a_choir_and_what_plays_beside_it_equally_loud(choir: Choir) -> None:
    seconds = 12
    tone = np.round(8000 * np.sin(2 * np.pi * 330 * np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.int16)
    players = [Part("organ", tone, np.zeros(1, np.float32))]
    maker = AccompaniedMaker([Source(choir, 1.0)], [players], [], ExampleOptions())
    for number in range(3):
        sounds = maker.draw(np.random.default_rng(number))
        assert sounds.shape == (2, LENGTH)
        assert np.isfinite(sounds).all()
        assert sounds[0].std() == pytest.approx(sounds[1].std(), rel=1e-3)
