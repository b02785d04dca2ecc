"""Rooms for choirs, of both kinds: they ring as long as they say, and are functions of their seed."""

from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.rooms import HALL_DECAY_SECONDS, load_halls, noise_hall
from divisi_workshop.choirs.shoebox_rooms import Shoebox, draw_shoebox, shoebox_responses
from divisi_workshop.choirs.takes import SAMPLE_RATE


def decay_seconds(response: np.ndarray) -> float:
    """By 60 dB, from the slope between −5 and −20 dB of the energy that is still to come (Schroeder, 1965)."""
    left_db = 10 * np.log10(np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1])
    left_db -= left_db[0]
    first, last = int(np.argmax(left_db < -5)), int(np.argmax(left_db < -20))
    return 60 / 15 * (last - first) / SAMPLE_RATE


def test_a_hall_of_noise_has_the_direct_sound_first_and_energy_one() -> None:
    responses = noise_hall(np.random.default_rng(3), 5)
    assert responses.shape[0] == 5
    assert np.abs(responses).argmax(axis=1).tolist() == [0] * 5
    assert np.sum(responses**2, axis=1) == pytest.approx(np.ones(5), rel=0.5)
    assert responses.shape[1] >= HALL_DECAY_SECONDS[0] * SAMPLE_RATE
    assert np.array_equal(responses, noise_hall(np.random.default_rng(3), 5))


def test_singers_of_a_drawn_room_stand_in_it() -> None:
    for seed in range(20):
        room = draw_shoebox(np.random.default_rng(seed), 12)
        assert room.places.shape == (12, 3)
        assert (room.places > 0).all()
        assert (room.places < room.size).all()
        assert (room.microphone > 0).all()
        assert (room.microphone < room.size).all()


def test_a_room_of_image_sources_rings_about_as_long_as_asked() -> None:
    places = np.array([[2.0, 4.0, 1.5], [4.0, 4.5, 1.5]])
    room = Shoebox(np.array([6.0, 5.0, 3.0]), 0.4, np.array([3.0, 1.0, 1.5]), places)
    responses = shoebox_responses(room)
    assert responses.shape[0] == 2
    assert np.mean(np.sum(responses**2, axis=1)) == pytest.approx(1, rel=1e-3)
    # Sabine's formula, which the walls are made by, is itself only good to a third.
    assert decay_seconds(responses[0]) == pytest.approx(0.4, rel=0.35)


def test_rooms_are_read_in_order_and_none_where_there_is_no_folder(tmp_path: Path) -> None:
    for number in (2, 1):
        np.save(tmp_path / f"hall_{number:04d}.npy", np.full((1, 4), number, np.float16))
    assert [float(hall[0, 0]) for hall in load_halls(tmp_path)] == [1.0, 2.0]
    assert load_halls(tmp_path / "nowhere") == []
