"""What the refiner learns from: drawn by number, of every kind, and never from what is kept for validation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Choir, Part
from divisi_workshop.learning.choir_examples import (
    FRAMES,
    KINDS,
    LENGTH,
    SPECTRUM_SCALE,
    Example,
    ExampleMaker,
    ExampleOptions,
    Source,
    first_stages,
    load_sources,
)
from divisi_workshop.networks.choir_refiner import REFINED_BINS
from divisi_workshop.networks.chorus import Chorus, ChorusConfig

TINY = ChorusConfig(
    pitch_channels=8, pitch_hidden=8, refined_hidden=8, mask_channels=8, detail_channels=4, band_hidden=8
)
QUIET = ExampleOptions(noise_db=(-120.0, -119.0), compressed_share=0.0)


@pytest.fixture(scope="module")
def maker(choir: Choir) -> ExampleMaker:
    hall = np.zeros((12, 800), np.float32)
    hall[:, 0] = hall[:, 700] = 0.7
    return ExampleMaker([Source(choir, 1.0)], [hall], QUIET)


def test_an_example_is_a_function_of_its_number(maker: ExampleMaker) -> None:
    first, again, other = (maker.draw(np.random.default_rng((1, number))) for number in (3, 3, 4))
    assert np.array_equal(first.mixture, again.mixture)
    assert not np.array_equal(first.mixture, other.mixture)


def test_all_kinds_are_drawn_and_sources_sum_to_a_mixture_of_unit_level(maker: ExampleMaker) -> None:
    examples = [maker.draw(np.random.default_rng(number)) for number in range(24)]
    assert {example.kind for example in examples} == set(KINDS)
    for example in examples:
        assert example.sources.shape == (4, LENGTH)
        assert np.abs(example.sources.sum(0) - example.mixture).max() < 1e-4
        assert np.mean(example.mixture**2) == pytest.approx(1, abs=1e-3)
        silent = ~example.sources.any(axis=1)
        assert not silent[example.roster == 1].all()


def test_what_is_kept_for_validation_is_not_drawn() -> None:
    """A recording that sounds only where it is kept gives nothing, wherever an example begins."""
    samples = np.zeros(60 * SAMPLE_RATE, np.int16)
    samples[29 * SAMPLE_RATE : 51 * SAMPLE_RATE] = 9000
    choir = Choir(tuple((Part(voice, samples, np.zeros(1, np.float32)),) for voice in VOICES))
    source = Source(choir, 1.0, (29.0, 51.0))
    maker = ExampleMaker([source], [], QUIET)
    starts = [maker.start(np.random.default_rng(seed), source) for seed in range(40)]
    longest = (LENGTH / SAMPLE_RATE + 2.0) * 2 ** (4 / 12)
    assert all(start + longest <= 29 or start >= 51 for start in starts)


def test_the_validation_singer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="singer 4"):
        load_sources(tmp_path, tmp_path, (1, 4))


def test_the_refiner_is_given_what_the_earlier_stages_leave(maker: ExampleMaker) -> None:
    torch.manual_seed(1)
    example: Example = maker.draw(np.random.default_rng(2))
    arrays = first_stages(Chorus(TINY).eval(), example, torch.device("cpu"))
    assert arrays["spectra"].shape == (9, 2, REFINED_BINS, FRAMES + 1)
    assert arrays["masks"].shape == (4, REFINED_BINS, FRAMES + 1)
    mixture, estimates, sources = np.split(arrays["spectra"].astype(np.float32) / SPECTRUM_SCALE, [1, 5])
    half_precision = 2e-3 * np.abs(mixture).max()
    assert np.abs(estimates.sum(0) - mixture[0]).max() < half_precision
    assert np.abs(sources.sum(0) - mixture[0]).max() < half_precision
