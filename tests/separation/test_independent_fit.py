"""Channels made of others are found as such, however they are made, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from divisi.models.plan import FitPlan
from divisi.separation.independent_fit import IndependentChannels, covariance_of, independent_channels, order_sources

# Sources are loudest at microphones 2, 0 and 1.
LEVELS = np.array([[1.0, 2.0, 9.0], [9.0, 1.0, 2.0], [2.0, 9.0, 1.0]])


def microphones(num_channels: int, seed: int = 0) -> np.ndarray:
    """Channels that hear the same three players, each otherwise, and a little hiss: float32 (C, T)."""
    random = np.random.default_rng(seed)
    players = random.standard_normal((3, 20_000))
    heard = random.uniform(-1, 1, (num_channels, 3)) @ players + 0.05 * random.standard_normal((num_channels, 20_000))
    return (0.1 * heard).astype(np.float32)


def relations(mixture: np.ndarray, *preferred: int, block: int = 3000) -> IndependentChannels:
    blocks = (mixture[:, start : start + block] for start in range(0, mixture.shape[1], block))
    return independent_channels(covariance_of(blocks, len(mixture)), preferred)


@pytest.mark.parametrize("num_channels", [1, 2, 8])
def test_microphones_in_a_room_are_independent(num_channels: int) -> None:
    mixture = microphones(num_channels)
    found = relations(mixture)
    assert found.are_all
    assert found.channels == tuple(range(num_channels))
    np.testing.assert_array_equal(found.weights, np.eye(num_channels))


MADE = {
    "safety tracks": [[0.25, 0], [0, 0.25]],
    "opposite polarity": [[-1, 0]],
    "mid and side": [[0.5, 0.5], [0.5, -0.5]],
    "upmix": [[0.7, 0.7], [0.35, 0.35], [0.6, 0], [0, 0.6]],
    "a dead channel": [[0, 0]],
    "copies at -20 dB": [[0.1, 0], [0, 0.1]],
}


@pytest.mark.parametrize("bits", [None, 23, 15])
@pytest.mark.parametrize("name", MADE)
def test_channels_made_of_others_are_found_and_made_again(name: str, bits: int | None) -> None:
    two, made = microphones(2), np.array(MADE[name])
    mixture = np.concatenate([two, made @ two])
    mixture = mixture if bits is None else np.round(mixture * 2**bits) / 2**bits
    found = relations(mixture.astype(np.float32))
    assert found.channels == (0, 1)
    np.testing.assert_allclose(found.weights, np.concatenate([np.eye(2), made]), atol=1e-3)
    np.testing.assert_allclose(found.spread(two), mixture, atol=2**-13)


def test_preferred_channels_are_kept_and_the_others_made_of_them() -> None:
    one = microphones(1)
    found = relations(np.concatenate([one, 0.5 * one, microphones(1, 1)]), 1)
    assert found.channels == (1, 2)
    np.testing.assert_allclose(found.weights, [[2, 0], [1, 0], [0, 1]], atol=1e-6)


def test_weights_stay_small_where_two_channels_are_nearly_the_same() -> None:
    """A side signal, turned up, beside a left and a right channel that hardly differ."""
    left, own = microphones(1), microphones(1, 1)
    mixture = np.concatenate([left, left + 0.01 * own, own])
    found = relations(mixture)
    assert found.channels == (0, 2)
    assert np.abs(found.weights).max() < 1.1


def test_of_copies_one_is_left_even_where_all_are_preferred() -> None:
    assert relations(np.repeat(microphones(1), 3, axis=0), 2, 1).channels == (2,)


def test_silence_has_no_channel_that_is_made_of_others() -> None:
    assert relations(np.zeros((3, 500), np.float32)).are_all
    assert relations(np.zeros((2, 0), np.float32)).are_all


def test_channels_at_very_unlike_levels_are_independent() -> None:
    mixture = microphones(3) * np.array([[1.0], [1e-5], [1e3]], np.float32)
    assert relations(mixture).are_all


def test_what_others_do_not_explain_is_the_rest() -> None:
    two = microphones(2)
    hiss = 1e-4 * microphones(1, 5)
    mixture = np.concatenate([two, 0.5 * two[:1] + hiss])
    found = relations(mixture)
    assert found.channels == (0, 1)
    np.testing.assert_allclose(found.rest(mixture), np.concatenate([0 * two, hiss]), atol=1e-6)


def plan(spot_channels: tuple[int | None, ...], initialisation: str = "two_step") -> FitPlan:
    return FitPlan(
        stems=tuple(f"source_{place + 1}" for place in range(len(spot_channels))),
        spot_channels=spot_channels,
        num_bases=2,
        num_iterations=2,
        fft_length=512,
        initialisation=initialisation,  # type: ignore[arg-type]
        is_precise=False,
        learns_gains=True,
        projects=False,
        seed=0,
    )


def test_a_blind_fit_is_numbered_by_the_microphones() -> None:
    assert order_sources(LEVELS, plan((None, None, None))) == [1, 2, 0]


def test_the_numbers_do_not_depend_on_what_was_drawn() -> None:
    for shuffled in ([0, 2, 1], [2, 1, 0], [1, 2, 0]):
        order = order_sources(LEVELS[shuffled], plan((None, None, None)))
        assert [shuffled[source] for source in order] == [1, 2, 0]


def test_the_louder_of_two_at_one_microphone_comes_first() -> None:
    assert order_sources(np.array([[3.0, 0.1], [6.0, 0.2]]), plan((None, None))) == [1, 0]


def test_a_spot_takes_the_source_that_it_hears_most_of() -> None:
    assert order_sources(LEVELS, plan((2, None, 0))) == [0, 2, 1]


def test_two_spots_never_share_a_source() -> None:
    levels = np.array([[9.0, 8.0], [1.0, 2.0]])
    assert sorted(order_sources(levels, plan((0, 1)))) == [0, 1]


def test_what_started_at_a_spot_stays_there() -> None:
    assert order_sources(LEVELS, plan((0, 1, 2), "spots")) == [0, 1, 2]
    assert order_sources(LEVELS[[0, 2, 1]], plan((0, None, None), "spots")) == [0, 2, 1]
