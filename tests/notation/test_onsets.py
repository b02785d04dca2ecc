from __future__ import annotations

import itertools

import numpy as np
import pytest

from divisi.notation.notes import Note
from divisi.notation.onsets import LevelMeter, articulated

HOP_SECONDS = 0.008
# A rise is told from levels 8 ms apart, smoothed over five of them.
EXACT_SECONDS = 0.025
A4 = Note(0.5, 2.5, 69, 440.0)


def level_db(*dips: tuple[float, float, float], seconds: float = 3.0) -> np.ndarray:
    """Power of a voice that sings from 0.5 s to 2.5 s; dips are start, length and depth in dB."""
    moments = np.arange(round(seconds / HOP_SECONDS)) * HOP_SECONDS
    level = np.where((moments >= 0.5) & (moments < 2.5), 0.0, -90.0)
    for start, length, depth_db in dips:
        level[(moments >= start) & (moments < start + length)] -= depth_db
    return (10 ** (level / 10)).astype(np.float32)


def starts_of(notes: list[Note]) -> list[float]:
    return [note.start_seconds for note in notes]


def test_a_consonant_within_a_note_parts_it_where_the_vowel_opens() -> None:
    first, second = articulated([A4], level_db((1.4, 0.08, 25)), HOP_SECONDS)
    assert (first.key, second.key) == (69, 69)
    assert second.start_seconds == pytest.approx(1.48, abs=EXACT_SECONDS)
    assert first.end_seconds == second.start_seconds
    assert (first.start_seconds, second.end_seconds) == (pytest.approx(0.5, abs=EXACT_SECONDS), 2.5)


@pytest.mark.parametrize("depth_db", [2, 5, 8])
def test_a_swell_parts_no_note(depth_db: float) -> None:
    moments = np.arange(375) * HOP_SECONDS
    swell = 10 ** (depth_db * np.sin(2 * np.pi * 5.5 * moments) / 20)
    assert len(articulated([A4], (level_db() * swell).astype(np.float32), HOP_SECONDS)) == 1


def test_a_long_rest_between_does_not_make_a_note_of_its_own() -> None:
    notes = [Note(0.5, 1.2, 69, 440.0), Note(1.6, 2.5, 69, 440.0)]
    sung = articulated(notes, level_db((1.2, 0.4, 80)), HOP_SECONDS)
    assert starts_of(sung) == pytest.approx([0.5, 1.6], abs=EXACT_SECONDS)
    assert sung[0].end_seconds == 1.2


def test_a_new_pitch_begins_where_its_vowel_opens() -> None:
    """The track changed in the middle of the consonant."""
    notes = [Note(0.5, 1.44, 69, 440.0), Note(1.44, 2.5, 71, 493.9)]
    sung = articulated(notes, level_db((1.4, 0.1, 25)), HOP_SECONDS)
    assert [note.key for note in sung] == [69, 71]
    assert sung[1].start_seconds == pytest.approx(1.5, abs=EXACT_SECONDS)
    assert sung[0].end_seconds == sung[1].start_seconds


def test_a_slurred_note_begins_where_the_pitch_changes() -> None:
    notes = [Note(0.5, 1.44, 69, 440.0), Note(1.44, 2.5, 71, 493.9)]
    sung = articulated(notes, level_db(), HOP_SECONDS)
    assert sung[1].start_seconds == 1.44


def test_a_first_note_begins_with_its_sound() -> None:
    (note,) = articulated([Note(0.42, 2.5, 69, 440.0)], level_db(), HOP_SECONDS)
    assert note.start_seconds == pytest.approx(0.5, abs=EXACT_SECONDS)


@pytest.mark.parametrize("power", [np.zeros(0, np.float32), np.zeros(400, np.float32)])
def test_without_a_level_the_notes_stay(power: np.ndarray) -> None:
    assert articulated([A4], power, HOP_SECONDS) == [A4]


def test_notes_never_overlap_and_stay_in_order() -> None:
    random = np.random.default_rng(5)
    bounds = np.sort(random.uniform(0, 3, 24))
    notes = [Note(a, b, 60, 261.6) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    sung = articulated(notes, (10 ** random.uniform(-6, 0, 375)).astype(np.float32), HOP_SECONDS)
    assert len(sung) > 3
    assert all(note.start_seconds < note.end_seconds for note in sung)
    assert all(one.end_seconds <= other.start_seconds for one, other in itertools.pairwise(sung))


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100])
def test_levels_are_those_of_the_stems_however_these_are_cut(sample_rate: int) -> None:
    samples = np.random.default_rng(6).standard_normal((2, 2, sample_rate)).astype(np.float32)
    whole, cut = LevelMeter(2, sample_rate), LevelMeter(2, sample_rate)
    at_once = whole.push(samples)
    in_pieces = np.concatenate([cut.push(block) for block in np.array_split(samples, 37, axis=2)], axis=1)
    np.testing.assert_array_equal(at_once, in_pieces)
    hop_length = round(whole.hop_seconds * sample_rate)
    expected = np.square(samples[:, :, :hop_length]).mean(axis=(1, 2))
    np.testing.assert_allclose(at_once[:, 0], expected, rtol=1e-5)
    assert at_once.shape[1] == sample_rate // hop_length
