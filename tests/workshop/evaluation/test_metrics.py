"""SI-SDR against values that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from divisi_workshop.metrics import si_sdr_db

RNG = np.random.default_rng(3)
REFERENCE = np.sin(2 * np.pi * 5 * np.arange(1000) / 1000)
# Orthogonal to the reference and as strong.
ERROR = np.cos(2 * np.pi * 5 * np.arange(1000) / 1000)


@pytest.mark.parametrize("ratio_db", [-20.0, 0.0, 6.0, 30.0])
def test_an_orthogonal_error_gives_its_own_level(ratio_db: float) -> None:
    estimate = REFERENCE + 10 ** (-ratio_db / 20) * ERROR
    assert si_sdr_db(estimate, REFERENCE) == pytest.approx(ratio_db, abs=1e-4)


@pytest.mark.parametrize("gain", [0.001, 3.0, -1.0])
def test_the_level_of_the_estimate_does_not_matter(gain: float) -> None:
    estimate = REFERENCE + 0.3 * RNG.standard_normal(1000)
    assert si_sdr_db(gain * estimate, REFERENCE) == pytest.approx(si_sdr_db(estimate, REFERENCE), abs=1e-4)


def test_a_constant_offset_counts_as_an_error() -> None:
    assert si_sdr_db(REFERENCE + np.sqrt(0.5), REFERENCE) == pytest.approx(0.0, abs=1e-4)


def test_silence_and_a_stranger_read_minus_80_db_and_a_perfect_estimate_stays_finite() -> None:
    assert si_sdr_db(np.zeros(1000), REFERENCE) == pytest.approx(-80.0)
    assert si_sdr_db(ERROR, REFERENCE) == pytest.approx(-80.0, abs=1e-3)
    assert 100 < si_sdr_db(REFERENCE, REFERENCE) < 200


def test_many_signals_are_scored_at_once_as_one_by_one() -> None:
    estimates, references = RNG.standard_normal((2, 3, 2, 400))
    together = si_sdr_db(estimates, references)
    assert together.shape == (3, 2)
    for place in np.ndindex(3, 2):
        assert together[place] == pytest.approx(float(si_sdr_db(estimates[place], references[place])))
