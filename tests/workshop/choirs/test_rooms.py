"""Rooms and equalisers."""

import numpy as np

from divisi_workshop.choirs.rooms import (
    compressor_gain,
    place_in_room,
    random_equaliser,
    random_microphone,
    random_room,
)


def test_the_direct_sound_comes_first_and_alone() -> None:
    rooms = random_room(np.random.default_rng(1), 4)
    assert (rooms[:, 0] == 1).all()
    assert not rooms[:, 1:16].any()


def test_singers_of_one_room_stand_at_different_places() -> None:
    rooms = random_room(np.random.default_rng(1), 2)
    assert abs(np.corrcoef(rooms[0, 400:], rooms[1, 400:])[0, 1]) < 0.2


def test_the_tail_dies_away() -> None:
    for seed in range(5):
        room = random_room(np.random.default_rng(seed), 1)[0, 1000:]
        half = len(room) // 2
        assert np.sum(room[:half] ** 2) > 2 * np.sum(room[half:] ** 2)


def test_an_impulse_in_a_room_is_still_sounding_after_the_dry_one_has_ended() -> None:
    impulse = np.zeros((1, 8000), dtype=np.float32)
    impulse[0, 100] = 1
    dry = place_in_room(np.random.default_rng(3), impulse, with_room=False)
    wet = place_in_room(np.random.default_rng(3), impulse, with_room=True)
    assert dry.shape == wet.shape == impulse.shape
    assert np.sum(wet[0, 1500:] ** 2) > 100 * np.sum(dry[0, 1500:] ** 2)


def test_an_equaliser_is_smooth_and_of_the_asked_depth() -> None:
    frequencies_hz = np.linspace(0, 8000, 4000)
    gains_db = 20 * np.log10(
        [random_equaliser(np.random.default_rng(seed), frequencies_hz, deviation_db=2.5) for seed in range(200)]
    )
    assert 1.5 < gains_db.std() < 3.0
    assert np.abs(np.diff(gains_db[:, 100:])).max() < 1.0


def test_who_stands_further_away_sounds_more_through_the_room() -> None:
    ratios_db = []
    for seed in range(20):
        rooms = random_room(np.random.default_rng(seed), 4)
        ratios_db.append(10 * np.log10(np.sum(rooms[:, 900:] ** 2, axis=1)))
    assert np.ptp(ratios_db, axis=1).mean() > 2
    assert np.ptp(np.min(ratios_db, axis=1)) > 10


def test_a_microphone_takes_away_but_never_adds() -> None:
    frequencies_hz = np.linspace(0, 8000, 1000)
    gains = np.stack([random_microphone(np.random.default_rng(seed), frequencies_hz) for seed in range(50)])
    assert (gains <= 1).all()
    assert gains[:, 125].min() > 0.8  # 1 kHz always passes
    assert gains[:, 2].min() < 0.3
    assert gains[:, -1].min() < 0.3


def test_a_compressor_turns_down_what_is_loud() -> None:
    loudness = np.repeat([0.1, 1.0], 16_000)
    gain = compressor_gain(np.random.default_rng(1), loudness * np.random.default_rng(2).standard_normal(32_000))
    assert gain[8_000] > 1.2 * gain[24_000]
    assert np.abs(np.diff(gain)).max() < 0.01
