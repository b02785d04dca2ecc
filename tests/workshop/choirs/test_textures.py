"""Textures made from a plain one: four voices that hold their notes for whole beats."""

import numpy as np
import pytest

from divisi_workshop.choirs import scores
from divisi_workshop.choirs.melodies import FRAME_RATE, REST, Melody, fits

QUARTER_SECONDS = 0.5
BEAT = int(QUARTER_SECONDS * FRAME_RATE)


@pytest.fixture
def midi() -> np.ndarray:
    """Forty beats; each voice goes up and down by a tone. Shape: (4, 4000)."""
    return np.stack([np.repeat(note + 2.0 * (np.arange(40) % 2), BEAT) for note in (72, 65, 58, 50)])


def test_a_texture_can_always_be_sung_and_keeps_its_length(midi: np.ndarray) -> None:
    for seed in range(30):
        changed = scores.draw_texture(np.random.default_rng(seed), Melody(midi, QUARTER_SECONDS))
        assert changed.shape == midi.shape
        assert fits(changed)
        assert (changed != REST).any()


def test_no_texture_changes_the_melody_it_was_made_from(midi: np.ndarray) -> None:
    before = midi.copy()
    for seed in range(10):
        scores.draw_texture(np.random.default_rng(seed), Melody(midi, QUARTER_SECONDS))
    assert np.array_equal(midi, before)


def test_staggered_voices_sing_the_same_notes_whole_beats_later(midi: np.ndarray) -> None:
    shifted = scores.stagger(np.random.default_rng(3), midi, QUARTER_SECONDS)
    late = [int((track != REST).argmax()) for track in shifted]
    assert len(set(late)) > 1
    for track, original, frames in zip(shifted, midi, late, strict=True):
        assert frames % BEAT == 0
        assert np.array_equal(track[frames:], original[: len(original) - frames])


def test_some_voices_rest_while_others_go_on_unchanged(midi: np.ndarray) -> None:
    thinned = [scores.let_some_rest(np.random.default_rng(seed), midi, QUARTER_SECONDS) for seed in range(20)]
    counts = np.concatenate([(one != REST).sum(axis=0) for one in thinned])
    assert set(counts) == {1, 2, 3, 4}
    assert all((one[one != REST] == midi[one != REST]).all() for one in thinned)


def test_a_doubled_voice_is_whole_octaves_from_its_leader(midi: np.ndarray) -> None:
    for seed in range(20):
        doubled = scores.double(np.random.default_rng(seed), midi, QUARTER_SECONDS)
        changed = np.flatnonzero((doubled != midi).any(axis=1))
        for voice in changed:
            frames = doubled[voice] != midi[voice]
            distances = (doubled[voice, frames] - np.delete(midi, voice, axis=0)[:, frames]) % 12
            assert (distances == 0).all(axis=1).any()


def test_breaths_are_short_and_before_a_change_of_note(midi: np.ndarray) -> None:
    broken = scores.breathe(np.random.default_rng(1), midi, QUARTER_SECONDS)
    resting = broken == REST
    assert resting.any()
    assert resting.mean() < 0.3
    ends = np.flatnonzero(np.diff(resting[0].astype(int)) == -1) + 1
    assert (ends % BEAT == 0).all()


def test_ornaments_are_faster_than_what_was_written(midi: np.ndarray) -> None:
    ornate = scores.ornament(np.random.default_rng(2), midi, QUARTER_SECONDS)
    assert np.count_nonzero(np.diff(ornate)) > np.count_nonzero(np.diff(midi))
    assert np.abs(ornate - midi).max() <= 6


def test_a_held_note_lasts_for_beats(midi: np.ndarray) -> None:
    held = scores.hold_one(np.random.default_rng(1), midi, QUARTER_SECONDS)
    (voice,) = np.flatnonzero((held != midi).any(axis=1))
    moments = np.concatenate([[0], np.flatnonzero(np.diff(held[voice])) + 1, [held.shape[1]]])
    assert np.diff(moments).max() >= 5 * BEAT
