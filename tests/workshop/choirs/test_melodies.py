"""Written notes become sung ones."""

import numpy as np

from divisi_workshop.choirs.melodies import REST, draw_melody, hertz, sing_notes, slow_noise

CHORD = np.tile([72, 67, 60, 48], (64, 1))


def test_a_sung_note_stays_around_the_written_one() -> None:
    midi = np.full(800, 69.0)
    f0_hz = sing_notes(np.random.default_rng(1), midi, np.zeros(800))
    cents = 1200 * np.log2(f0_hz / 440.0)
    assert np.abs(cents).max() < 150
    assert cents.std() > 1


def test_rests_are_unvoiced_and_a_track_of_rests_is_all_unvoiced() -> None:
    midi = np.full(400, 60.0)
    midi[100:200] = REST
    f0_hz = sing_notes(np.random.default_rng(1), midi, np.zeros(400))
    assert (f0_hz[100:200] == 0).all()
    assert (f0_hz[200:] > 0).all()
    assert not sing_notes(np.random.default_rng(1), np.full(50, REST, dtype=float), np.zeros(50)).any()


def test_a_step_is_glided_over() -> None:
    midi = np.repeat([60.0, 64.0], 200)
    f0_hz = sing_notes(np.random.default_rng(5), midi, np.zeros(400))
    assert np.abs(1200 * np.diff(np.log2(f0_hz))).max() < 200
    assert f0_hz[:100].mean() < 1.06 * hertz(np.array(60.0))
    assert f0_hz[300:].mean() > 0.94 * hertz(np.array(64.0))


def test_voices_keep_the_chord_of_the_chorale_whatever_the_key() -> None:
    for seed in range(5):
        melody = draw_melody(np.random.default_rng(seed), [CHORD], 3.0)
        sung = melody.midi[:, 0]
        assert np.allclose(sung - sung[3], [24, 19, 12, 0])
        assert 0.5 <= melody.quarter_seconds <= 1.34


def test_slow_noise_has_unit_deviation() -> None:
    assert 0.7 < slow_noise(np.random.default_rng(1), 100_000, 0.5).std() < 1.3
