"""Disturbed pitches stay usable."""

import numpy as np

from divisi_workshop.learning.losses import disturb, hold


def test_disturbed_tracks_are_positive_everywhere_and_mostly_right() -> None:
    f0_hz = np.full((8, 4, 126), 220.0, dtype=np.float32)
    f0_hz[:, 1, 40:60] = 0
    heard_hz, voicing = disturb(np.random.default_rng(1), f0_hz)
    assert (heard_hz > 0).all()
    assert ((voicing >= 0) & (voicing <= 1)).all()
    voiced = f0_hz > 0
    cents = 1200 * np.abs(np.log2(heard_hz[voiced] / 220))
    assert 0.9 < np.mean(cents < 50) < 1
    assert np.mean((voicing > 0.5) == voiced) > 0.95


def test_the_true_tracks_are_left_untouched() -> None:
    f0_hz = np.full((2, 4, 30), 300.0, dtype=np.float32)
    disturb(np.random.default_rng(2), f0_hz)
    assert (f0_hz == 300).all()


def test_a_pitch_is_held_through_gaps_and_back_to_the_beginning() -> None:
    tracks = np.array([[[0, 0, 5, 0, 7, 0]]], dtype=np.float32)
    assert hold(tracks)[0, 0].tolist() == [5, 5, 5, 5, 7, 7]
    assert (hold(np.zeros((1, 1, 4), dtype=np.float32)) == 200).all()
