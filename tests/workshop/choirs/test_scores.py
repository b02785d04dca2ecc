"""Scores made up from a seed."""

import numpy as np
import pytest

from divisi_workshop.choirs.melodies import fits
from divisi_workshop.choirs.scores import CONSONANCES, MAJOR, RANGES, close_harmony, counterpoint, draw_score, hymn


@pytest.mark.parametrize("kind", [counterpoint, close_harmony, hymn])
def test_scores_stay_where_human_voices_can_sing_them(kind) -> None:  # type: ignore[no-untyped-def]
    for seed in range(5):
        score = kind(np.random.default_rng(seed), MAJOR, 128)
        assert score.shape == (128, 4)
        assert fits(score.T.astype(float))


def test_close_harmony_keeps_the_voices_in_order_and_near_each_other() -> None:
    score = close_harmony(np.random.default_rng(1), MAJOR, 128)
    assert (np.diff(score, axis=1) <= 0).all()
    assert (score[:, 0] - score[:, 2] <= 21).all()


def test_free_counterpoint_is_mostly_consonant_and_moves_in_small_steps() -> None:
    score = counterpoint(np.random.default_rng(2), MAJOR, 256)
    assert all(low <= track.min() and track.max() <= high for track, (low, high) in zip(score.T, RANGES, strict=True))
    intervals = np.abs(score[:, 0] - score[:, 3]) % 12
    assert np.mean(np.isin(intervals, list(CONSONANCES))) > 0.6
    steps = np.abs(np.diff(score[:, 0]))
    assert np.median(steps[steps > 0]) <= 4


def test_the_same_seed_gives_the_same_score() -> None:
    first, again, other = (draw_score(np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
