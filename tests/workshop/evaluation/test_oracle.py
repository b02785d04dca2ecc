"""The oracle ratio mask on signals whose separation is known."""

from __future__ import annotations

import numpy as np

from divisi_workshop.evaluation.evaluate import ratio_masked
from divisi_workshop.metrics import si_sdr_db

SECONDS = np.arange(32_000) / 16_000
RNG = np.random.default_rng(11)


def test_masked_voices_sum_to_the_mixture() -> None:
    sources = RNG.standard_normal((3, 20_011)).astype(np.float32)
    mixture = sources.sum(axis=0)
    # Float32 samples of a few units, computed in double precision.
    np.testing.assert_allclose(ratio_masked(mixture, sources).sum(axis=0), mixture, atol=1e-5)


def test_tones_far_apart_are_separated_almost_perfectly() -> None:
    sources = np.stack([np.sin(2 * np.pi * 300 * SECONDS), np.sin(2 * np.pi * 3000 * SECONDS)]).astype(np.float32)
    estimates = ratio_masked(sources.sum(axis=0), sources)
    assert si_sdr_db(estimates, sources).min() > 30


def test_equal_voices_each_get_half_the_mixture() -> None:
    voice = RNG.standard_normal(16_000).astype(np.float32)
    estimates = ratio_masked(2 * voice, np.stack([voice, voice]))
    np.testing.assert_allclose(estimates, np.stack([voice, voice]), atol=1e-5)


def test_noises_on_top_of_each_other_gain_a_few_decibels_only() -> None:
    sources = RNG.standard_normal((2, 64_000)).astype(np.float32)
    mixture = sources.sum(axis=0)
    gain = si_sdr_db(ratio_masked(mixture, sources), sources) - si_sdr_db(mixture, sources)
    assert (gain > 2).all()
    assert (gain < 12).all()
