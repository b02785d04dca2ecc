"""Choirs of formant voices: four voices on one label grid, the same for the same seed, with the pitch of the score."""

from __future__ import annotations

import numpy as np

from divisi_workshop.choirs.formant_voices import make_choir, to_notes
from divisi_workshop.choirs.melodies import FRAME_RATE, REST
from divisi_workshop.choirs.takes import SAMPLE_RATE

SECONDS = 4.0
CHORALE = np.array([[72, 67, 64, 48]] * 8 + [[74, 67, 65, 47]] * 8 + [[76, 67, 60, 48]] * 16)


def test_a_choir_has_four_voices_and_a_pitch_per_label() -> None:
    samples, f0_hz, quarter_seconds = make_choir(np.random.default_rng(3), [CHORALE], SECONDS)
    assert samples.shape == (4, int(SECONDS * SAMPLE_RATE))
    assert f0_hz.shape == (4, int(SECONDS * FRAME_RATE))
    assert 0.5 <= quarter_seconds <= 60 / 45
    sung = np.array([np.median(track[track > 0]) for track in f0_hz])
    assert (np.diff(sung) < 0).all()


def test_the_seed_decides_everything() -> None:
    first, second = (make_choir(np.random.default_rng(5), [CHORALE], SECONDS) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_notes_last_as_long_as_their_frames_and_rests_stay_rests() -> None:
    midi = np.concatenate([np.full(100, 60.5), np.full(40, REST), np.full(900, 64.0)])
    notes = to_notes(np.random.default_rng(0), midi)
    assert sum(note.seconds for note in notes) == len(midi) / FRAME_RATE
    assert [note.midi for note in notes[:2]] == [60.5, None]
    assert {note.midi for note in notes[2:]} == {64.0}
    assert len(notes) > 3
