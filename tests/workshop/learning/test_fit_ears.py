"""How sure to be that a voice sings: fitted to what was heard, tried on what was not."""

import numpy as np
import pytest
import torch

from divisi.separation.roster import Ear, Evidence
from divisi_workshop.choirs.takes import Choir
from divisi_workshop.learning import fit_ears
from divisi_workshop.learning.fit_ears import EVERYBODY, Heard
from divisi_workshop.networks import chorus

ALL = (fit_ears.BY_DECIBEL, fit_ears.BY_NOTE, fit_ears.BY_PRESENCE)


def drawn_rows(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.c_[rng.uniform(-40, 0, count), rng.uniform(0, 1, count), rng.normal(0, 3, count)]


def evidence(rng: np.random.Generator, sings: tuple[int, ...], roster: tuple[int, ...]) -> Evidence:
    """Two stretches in which those who sing are louder, mostly on notes of their own, and the network mostly knows."""
    there = np.array([voice in sings for voice in EVERYBODY])
    decibels = np.where(there, -3, -14) + rng.normal(0, 2, (2, 4))
    decibels[:, [voice for voice in EVERYBODY if voice not in roster]] = -60
    notes = np.clip(np.where(there, 0.7, 0.3) + rng.normal(0, 0.15, (2, 4)), 0, 1)
    return Evidence(10 ** (decibels / 10), notes, np.where(there, 2.0, -2.0) + rng.normal(0, 2, (2, 4)))


def heard_sets(draws: int, seed: int = 0) -> list[Heard]:
    rng = np.random.default_rng(seed)
    heard = []
    for draw in range(draws):
        for sings in fit_ears.ROSTERS:
            rosters = [roster for roster in fit_ears.ROSTERS if set(sings) <= set(roster)]
            heard.append(Heard(draw % 2 == 0, sings, {roster: evidence(rng, sings, roster) for roster in rosters}))
    return heard


def test_the_weights_that_made_the_answers_are_found_again() -> None:
    rows, true = drawn_rows(20_000), Ear(0.08, 2.0, 0.6, 0.5)
    log_odds = rows @ [true.by_decibel, true.by_note, true.by_presence] + true.constant
    sings = np.random.default_rng(1).random(len(rows)) < 1 / (1 + np.exp(-log_odds))
    found = fit_ears.fit_ear(rows, sings, ALL)
    assert vars(found) == pytest.approx(vars(true), abs=0.12)
    assert found.by_decibel == pytest.approx(0.08, abs=0.01)


def test_what_is_not_weighed_does_not_count() -> None:
    rows = drawn_rows(500)
    ear = fit_ears.fit_ear(rows, rows[:, 2] + np.random.default_rng(2).normal(0, 1, 500) > 0, (fit_ears.BY_PRESENCE,))
    assert (ear.by_decibel, ear.by_note) == (0.0, 0.0)
    assert ear.by_presence > 0.5


def test_features_are_those_that_the_roster_weighs() -> None:
    item = evidence(np.random.default_rng(3), (0, 2), EVERYBODY)
    ear = Ear(0.07, 1.8, 0.7, -0.1)
    by_hand = item.features() @ [ear.by_decibel, ear.by_note, ear.by_presence] + ear.constant
    np.testing.assert_allclose(by_hand, item.log_odds(ear))


def test_fitted_ears_hear_sets_that_they_were_not_fitted_to() -> None:
    untold, told = fit_ears.fit(heard_sets(6), ALL)
    fresh = heard_sets(4, seed=9)
    right = [fit_ears.decide(item, untold, told, strikes=True) == item.sings for item in fresh]
    assert np.mean(right) > 0.8
    deaf = Ear(0.0, 0.0, 0.0, 1.0)
    assert np.mean([fit_ears.decide(item, deaf, deaf, strikes=True) == item.sings for item in fresh]) == 1 / 15


def test_a_voice_that_sings_and_is_struck_ends_the_search() -> None:
    item = heard_sets(1)[fit_ears.ROSTERS.index((0, 1, 2))]
    hears_nothing = Ear(0.0, 0.0, 0.0, -50.0)
    found = fit_ears.decide(item, Ear(0.0, 0.0, 0.0, 1.0), hears_nothing, strikes=True)
    assert not set(item.sings) <= set(found)


def test_the_table_counts_every_excerpt_once(capsys: pytest.CaptureFixture[str]) -> None:
    fit_ears.print_table(heard_sets(2))
    printed = capsys.readouterr().out
    assert "of 15 real and 15 synthetic" in printed
    assert all(name in printed for name in fit_ears.WEIGHINGS)
    assert "TOLD = Ear(" in printed.replace("\n", " ")


def test_excerpts_are_heard_with_every_roster_that_holds_who_sings(
    choir: Choir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_ears, "STRETCH_SAMPLES", 16_384)
    monkeypatch.setattr(fit_ears, "ROSTERS", [(0,), (1, 3), EVERYBODY])
    torch.manual_seed(0)
    network = chorus.build().eval()
    first, again = (fit_ears.hear_choirs(network, [choir], True, 1, seed=5) for _ in range(2))
    assert [(item.sings, list(item.by_roster)) for item in first] == [
        ((0,), [(0,), EVERYBODY]),
        ((1, 3), [(1, 3), EVERYBODY]),
        (EVERYBODY, [EVERYBODY]),
    ]
    alone = first[0].by_roster[(0,)]
    assert alone.energies.shape == (fit_ears.STRETCHES, 4)
    assert (alone.energies[:, 1:] < 1e-9 * alone.energies[:, :1]).all()
    np.testing.assert_array_equal(alone.energies, again[0].by_roster[(0,)].energies)
