from __future__ import annotations

import itertools

import numpy as np
import pytest

from divisi.notation.notes import Note, NoteFinder

HOP_SECONDS = 0.032
# Frames of one second, as the shipped models give them.
SECOND = round(1 / HOP_SECONDS)


def hz(number: float) -> float:
    return 440 * 2 ** ((number - 69) / 12)


def sung(*stretches: tuple[float | None, int]) -> np.ndarray:
    """A track: stretches of a pitch (as of MIDI; None: silence) and a number of frames."""
    return np.concatenate([np.full(n, 0 if number is None else hz(number)) for number, n in stretches]).astype("f4")


def find(track: np.ndarray, block: int = 1000) -> list[Note]:
    finder = NoteFinder(HOP_SECONDS)
    notes = [note for start in range(0, len(track), block) for note in finder.push(track[start : start + block])]
    return notes + list(finder.finish())


def frames_of(note: Note, hop_seconds: float = HOP_SECONDS) -> tuple[int, int]:
    return round(note.start_seconds / hop_seconds), round(note.end_seconds / hop_seconds)


def told(track: np.ndarray) -> list[tuple[int, int, int]]:
    return [(*frames_of(note), note.key) for note in find(track)]


def test_steady_pitches_are_notes_from_their_first_frame_to_their_last() -> None:
    track = sung((None, 5), (69, 20), (71, 15), (None, 10), (60, 8))
    assert told(track) == [(5, 25, 69), (25, 40, 71), (50, 58, 60)]


def test_a_semitone_is_another_note() -> None:
    assert told(sung((64, 20), (65, 20))) == [(0, 20, 64), (20, 40, 65)]


@pytest.mark.parametrize("rate_hz", [4.5, 5.5, 6.5])
@pytest.mark.parametrize("extent", [0.3, 0.7, 1.0])
def test_vibrato_is_one_note_of_its_middle(extent: float, rate_hz: float) -> None:
    seconds = np.arange(3 * SECOND) * HOP_SECONDS
    track = hz(62) * 2 ** (extent * np.sin(2 * np.pi * rate_hz * seconds) / 12)
    assert told(track.astype("f4")) == [(0, 3 * SECOND, 62)]


def test_a_voice_out_of_tune_and_drifting_stays_on_its_note() -> None:
    track = hz(57) * 2 ** (np.linspace(-0.3, 0.3, 2 * SECOND) / 12)
    (note,) = find(track.astype("f4"))
    assert (*frames_of(note), note.key) == (0, 2 * SECOND, 57)
    assert note.f0_hz == pytest.approx(hz(57), rel=0.003)


def test_slips_of_the_tracker_do_not_part_a_note() -> None:
    track = sung((69, 20), (81, 2), (69, 20), (None, 2), (69, 20))
    assert told(track) == [(0, 64, 69)]


def test_a_consonant_parts_two_syllables_on_one_pitch() -> None:
    assert told(sung((69, 20), (None, 4), (69, 20))) == [(0, 20, 69), (24, 44, 69)]


def test_what_is_too_short_for_a_note_is_none() -> None:
    assert told(sung((None, 20), (69, 2), (None, 20), (72, 20))) == [(42, 62, 72)]


def test_a_scoop_belongs_to_the_note_that_it_leads_to() -> None:
    assert told(sung((None, 5), (66, 2), (69, 30))) == [(5, 37, 69)]


def test_a_scoop_does_not_change_what_the_note_is_called() -> None:
    scoop = hz(69) * 2 ** (np.linspace(-1.4, 0, 5) / 12)
    track = np.concatenate([scoop, np.full(30, hz(69))]).astype("f4")
    assert told(track) == [(0, 35, 69)]


def test_a_fall_does_not_change_what_the_note_is_called() -> None:
    # 65 for half a second, then three frames a tone below and a breath: too short for a note of its own.
    assert told(sung((65, 16), (63, 3), (None, 10))) == [(0, 19, 65)]
    assert told(sung((69, 20), (64, 20), (61, 3))) == [(0, 20, 69), (20, 43, 64)]


def test_how_the_track_is_cut_into_blocks_changes_nothing() -> None:
    random = np.random.default_rng(3)
    stretches = [(float(random.integers(50, 80)) if random.random() > 0.3 else None, int(random.integers(1, 12)))]
    for _ in range(200):
        stretches.append(
            (float(random.integers(50, 80)) if random.random() > 0.3 else None, int(random.integers(1, 12)))
        )
    track = sung(*stretches)
    assert find(track, block=1) == find(track, block=7) == find(track)
    assert len(find(track)) > 20


def test_notes_do_not_overlap_and_are_within_the_track() -> None:
    random = np.random.default_rng(4)
    track = (hz(60) * 2 ** (np.cumsum(random.normal(0, 0.4, 3000)) / 12) * (random.random(3000) > 0.1)).astype("f4")
    notes = find(track)
    assert len(notes) > 50
    assert all(0 <= note.start_seconds < note.end_seconds <= len(track) * HOP_SECONDS for note in notes)
    assert all(one.end_seconds <= other.start_seconds for one, other in itertools.pairwise(notes))


def test_what_no_key_is_for_is_no_pitch() -> None:
    track = np.concatenate([np.full(20, 0.1), np.full(20, 20_000.0), np.full(20, hz(69))]).astype("f4")
    assert told(track) == [(40, 60, 69)]


def test_silence_has_no_notes() -> None:
    assert find(np.zeros(100, np.float32)) == []
    assert find(np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("hop_seconds", [0.005, 0.01, 0.016, 0.064])
def test_notes_of_a_second_are_found_at_any_hop(hop_seconds: float) -> None:
    finder = NoteFinder(hop_seconds)
    frames = round(1 / hop_seconds)
    track = sung((60, frames), (64, frames), (67, frames))
    notes = [*finder.push(track), *finder.finish()]
    assert [note.key for note in notes] == [60, 64, 67]
    assert [frames_of(note, hop_seconds)[0] for note in notes] == [0, frames, 2 * frames]


def test_a_phrase_without_a_breath_for_minutes_is_told_as_it_is() -> None:
    keys = [60 + (place * 5) % 12 for place in range(200)]
    track = sung(*[(key, SECOND) for key in keys])
    assert told(track) == [(place * SECOND, (place + 1) * SECOND, key) for place, key in enumerate(keys)]


def test_a_pitch_that_never_ends_is_told_in_parts_without_a_gap() -> None:
    notes = told(sung((48, 200 * SECOND)))
    assert notes[0][0] == 0
    assert notes[-1][1] == 200 * SECOND
    assert all(one[1] == other[0] for one, other in itertools.pairwise(notes))
    assert {key for _, _, key in notes} == {48}
