"""Stems are who their spots say they are, and have the same numbers whatever was drawn."""

from __future__ import annotations

import numpy as np

from divisi.models.plan import FitPlan
from divisi.separation.independent_fit import order_sources


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


# Sources are loudest at microphones 2, 0 and 1.
LEVELS = np.array([[1.0, 2.0, 9.0], [9.0, 1.0, 2.0], [2.0, 9.0, 1.0]])


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
