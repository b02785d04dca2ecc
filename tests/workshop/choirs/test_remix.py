"""What a batch is."""

from dataclasses import replace

import numpy as np
import pytest

from divisi_workshop.choirs.takes import Choir
from divisi_workshop.learning.remix import Remixer, RemixOptions

SHORT = RemixOptions(excerpt_seconds=1.0)


def test_a_batch_is_a_function_of_seed_and_step_alone(choir: Choir) -> None:
    first, second = (Remixer([choir], [choir], SHORT, seed=5) for _ in range(2))
    second.batch(0, 2)  # what was drawn before must not matter
    one, other = first.batch(7, 2), second.batch(7, 2)
    assert np.array_equal(one.mixture, other.mixture)
    assert np.array_equal(one.sources, other.sources)
    assert np.array_equal(one.f0_hz, other.f0_hz)
    assert not np.array_equal(one.mixture, first.batch(8, 2).mixture)
    assert not np.array_equal(one.mixture, Remixer([choir], [choir], SHORT, seed=6).batch(7, 2).mixture)


def test_sources_sum_to_the_mixture_but_for_the_noise(choir: Choir) -> None:
    options = replace(SHORT, noise_db=(-200.0, -200.0))
    batch = Remixer([choir], [], options, seed=1).batch(0, 4)
    assert batch.mixture.shape == (4, 15872)
    assert batch.sources.shape == (4, 4, 15872)
    assert batch.f0_hz.shape == (4, 4, 32)
    assert np.abs(batch.sources.sum(1) - batch.mixture).max() < 1e-4


def test_mixtures_have_unit_level(choir: Choir) -> None:
    levels = np.sqrt((Remixer([choir], [choir], SHORT, seed=1).batch(0, 16).mixture ** 2).mean(1))
    assert np.allclose(levels, 1, atol=0.05)


def test_a_missing_voice_is_silent_in_sound_and_in_pitch(choir: Choir) -> None:
    batch = Remixer([choir], [], replace(SHORT, missing_share=1.0), seed=2).batch(0, 32)
    silent = ~batch.sources.any(2)
    assert set(silent.sum(1)) == {1, 2, 3}
    assert not batch.f0_hz[silent].any()


def test_the_roster_names_the_missing_voices_when_they_are_told(choir: Choir) -> None:
    told = Remixer([choir], [], replace(SHORT, missing_share=1.0, told_share=1.0), seed=2).batch(0, 16)
    assert ((np.abs(told.sources).max(2) > 0) == (told.roster > 0)).all()
    untold = Remixer([choir], [], replace(SHORT, missing_share=1.0, told_share=0.0), seed=2).batch(0, 16)
    assert (untold.roster == 1).all()


def test_no_voice_is_missing_when_none_may_be(choir: Choir) -> None:
    batch = Remixer([choir], [], replace(SHORT, missing_share=0.0), seed=2).batch(0, 16)
    assert batch.sources.any(2).all()


def test_a_coherent_mixture_keeps_the_chord_and_an_incoherent_one_breaks_it(choir: Choir) -> None:
    def ratios(incoherent_share: float) -> np.ndarray:
        options = replace(SHORT, resung_share=0.0, incoherent_share=incoherent_share, missing_share=0.0)
        f0 = np.median(Remixer([choir], [], options, seed=3).batch(0, 12).f0_hz, axis=2)
        return np.asarray(f0[:, 0] / f0[:, 3])

    assert ratios(0.0) == pytest.approx(np.full(12, 4.0), rel=1e-3)
    assert np.std(ratios(1.0)) > 0.1


def test_staggered_voices_of_a_synthetic_choir_enter_one_after_another(choir: Choir) -> None:
    options = replace(SHORT, resung_share=1.0, stagger_share=1.0, missing_share=0.0)
    batch = Remixer([choir], [choir], options, seed=4).batch(0, 16)
    entries = (batch.f0_hz > 0).argmax(2)
    assert (entries.max(1) > entries.min(1)).any()
