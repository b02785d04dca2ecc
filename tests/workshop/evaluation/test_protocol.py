"""Which excerpts are cut, and which of their frames count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE
from divisi_workshop.evaluation.datasets import Dataset, Stretch, load_dataset, score


def noise_dataset(num_samples: int, start: int = 0) -> Dataset:
    sources = 0.1 * np.random.default_rng(5).standard_normal((2, num_samples))
    return Dataset("noise", ("upper", "lower"), sources.astype(np.float32), start)


def test_excerpts_follow_each_other_and_the_last_partial_one_is_dropped() -> None:
    starts = [excerpt.start for excerpt in noise_dataset(3 * EXCERPT_LENGTH + 99, start=100).excerpts()]
    assert starts == [100, 100 + EXCERPT_LENGTH]


def test_an_excerpt_that_just_fits_is_kept() -> None:
    assert len(noise_dataset(2 * EXCERPT_LENGTH).excerpts()) == 2


def test_published_excerpts_skip_the_first_four_seconds_and_begin_a_step_of_16_ms_early(data: Path) -> None:
    excerpts = load_dataset("nino_dios", data).excerpts()
    assert [excerpt.start / SAMPLE_RATE for excerpt in excerpts] == pytest.approx([3.984, 7.984])


def test_each_mixture_has_peak_one_and_is_the_sum_of_its_sources() -> None:
    for excerpt in noise_dataset(2 * EXCERPT_LENGTH).excerpts():
        assert np.abs(excerpt.mixture).max() == pytest.approx(1.0)
        np.testing.assert_allclose(excerpt.sources.sum(axis=0), excerpt.mixture, atol=1e-6)


def test_a_silent_voice_is_left_out_of_frames_and_excerpts_and_the_others_stay(data: Path) -> None:
    dataset = load_dataset("nino_dios", data)
    excerpts = dataset.excerpts()
    scores = score(dataset, excerpts, [excerpt.sources for excerpt in excerpts])
    frames = [item for item in scores if item.stretch == Stretch.FRAME]
    wholes = [item for item in scores if item.stretch == Stretch.EXCERPT]
    assert (len(frames), len(wholes)) == (2 * 4 * 4 - 4, 2 * 4 - 1)
    assert max(item.start_seconds for item in scores if item.voice == "alto") < 8
    assert min(item.si_sdr_db for item in scores) > 100


@pytest.mark.parametrize(("energy", "is_kept"), [(9.9, False), (10.1, True)])
def test_a_frame_counts_from_an_energy_of_ten(energy: float, is_kept: bool) -> None:
    quiet = np.full(EXCERPT_LENGTH, np.sqrt(energy / SAMPLE_RATE))
    loud = np.zeros(EXCERPT_LENGTH)
    loud[::SAMPLE_RATE] = 1 - quiet[0]  # so that the mixture's peak is 1 already
    dataset = Dataset("pair", ("loud", "quiet"), np.stack([loud, quiet]).astype(np.float32))
    excerpts = dataset.excerpts()
    scores = score(dataset, excerpts, [excerpts[0].sources])
    assert any(item.voice == "quiet" for item in scores) is is_kept


def test_each_frame_is_scored_by_its_own_error() -> None:
    dataset = noise_dataset(EXCERPT_LENGTH)
    excerpts = dataset.excerpts()
    estimate = excerpts[0].sources.copy()
    estimate[1, 2 * SAMPLE_RATE : 3 * SAMPLE_RATE] = excerpts[0].sources[0, 2 * SAMPLE_RATE : 3 * SAMPLE_RATE]
    scores = score(dataset, excerpts, [estimate])
    bad = [(item.voice, item.start_seconds) for item in scores if item.si_sdr_db < 50 and item.stretch == Stretch.FRAME]
    assert bad == [("lower", 2.0)]
