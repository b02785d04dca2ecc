"""One tuning for all voices, found over a whole recording, and the notes of chords that are not at 440 Hz."""

from __future__ import annotations

import numpy as np
import pytest

from divisi.notation.notes import Note, NoteFinder
from divisi.notation.tuning import Tuning, TuningMeter

HOP_SECONDS = 0.032
SECOND = round(1 / HOP_SECONDS)
# Four voices, a chord a second: what is written.
CHORALE = np.array([[72, 74, 76, 77, 76, 74, 72, 71, 72], [67, 67, 67, 69, 67, 65, 64, 62, 64]])
CHORALE = np.concatenate([CHORALE, [[64, 62, 60, 60, 60, 59, 60, 55, 55], [48, 47, 45, 41, 43, 43, 45, 43, 36]]])
# A hundredth of a semitone, where nothing is random.
CENT = 1.0


def sing(keys: np.ndarray, cents: np.ndarray | float, times: int = 1) -> np.ndarray:
    """Tracks float32 (S, N) in Hz of keys (S, seconds) so many cents above 440 Hz, a scalar or (N,) or (S, N)."""
    pitches = np.tile(np.repeat(keys, SECOND, axis=1), times) + np.asarray(cents) / 100
    return (440 * 2 ** ((pitches - 69) / 12)).astype(np.float32)


def tuning_of(tracks: np.ndarray, voicing: np.ndarray | None = None, block: int = 100) -> Tuning:
    meter = TuningMeter(len(tracks), HOP_SECONDS)
    for start in range(0, tracks.shape[1], block):
        part = slice(start, start + block)
        meter.push(tracks[:, part], None if voicing is None else voicing[:, part])
    return meter.finish()


def notes_of(tracks: np.ndarray) -> list[list[Note]]:
    tuning = tuning_of(tracks)
    finders = [NoteFinder(HOP_SECONDS, tuning) for _ in tracks]
    return [[*finder.push(track), *finder.finish()] for finder, track in zip(finders, tracks, strict=True)]


def chords_of(tracks: np.ndarray) -> np.ndarray:
    """The keys in the middle of each second, int (S, seconds)."""
    middles = (np.arange(SECOND // 2, tracks.shape[1], SECOND) + 0.5) * HOP_SECONDS
    return np.array(
        [
            [next(note.key for note in notes if note.start_seconds <= middle < note.end_seconds) for middle in middles]
            for notes in notes_of(tracks)
        ]
    )


def assert_same_chords(found: np.ndarray, written: np.ndarray) -> None:
    """All keys are those that are written, or all a semitone beside them, where the tuning is halfway."""
    assert len(np.unique(found - written)) == 1
    assert abs(found - written).max() <= 1


@pytest.mark.parametrize("cents", [-48, -31.8, -5, 0, 12.3, 31.8, 45, 50])
def test_the_tuning_of_a_choir_is_found(cents: float) -> None:
    tuning = tuning_of(sing(CHORALE, cents))
    assert tuning.cents == pytest.approx(cents, abs=CENT)
    assert tuning.a4_hz == pytest.approx(440 * 2 ** (cents / 1200), rel=0.001)
    np.testing.assert_array_equal(chords_of(sing(CHORALE, cents)), CHORALE)


@pytest.mark.parametrize("cents", [-101, -70, 70, 101, 150])
def test_a_choir_farther_off_sings_other_keys_at_a_near_tuning(cents: float) -> None:
    """A4 = 415 Hz is a semitone low: keys are those of 440 Hz, one below."""
    tuning = tuning_of(sing(CHORALE, cents))
    assert -50 < tuning.cents <= 51
    assert (tuning.cents - cents) % 100 == pytest.approx(0, abs=CENT) or (cents - tuning.cents) % 100 < CENT
    found = chords_of(sing(CHORALE, cents))
    np.testing.assert_array_equal(found, CHORALE + round((cents - tuning.cents) / 100))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cents", [50, -50])
def test_a_chord_a_quarter_tone_off_stays_that_chord(cents: float, seed: int) -> None:
    """Each voice is up to 12 cents beside the others, and unsteady: rounded alone, chords would be torn."""
    random = np.random.default_rng(seed)
    own = random.uniform(-12, 12, (4, 1)) + random.normal(0, 8, (4, CHORALE.shape[1] * SECOND))
    assert_same_chords(chords_of(sing(CHORALE, cents + own)), CHORALE)


@pytest.mark.parametrize("root", [0, 40, 50, 60])
def test_pure_thirds_and_fifths_are_the_chord_that_they_are(root: float) -> None:
    chord = np.repeat([[48], [55], [60], [64]], 8, axis=1)
    pure = np.array([[0.0], [2.0], [0.0], [-13.7]])
    assert_same_chords(chords_of(sing(chord, root + pure)), chord)


@pytest.mark.parametrize("total", [-80, -130, 80])
@pytest.mark.parametrize("start", [0, 35, 50])
@pytest.mark.parametrize("times", [3, 20])
def test_a_choir_that_drifts_keeps_its_chords(start: float, total: float, times: int) -> None:
    """Over half a minute, or three."""
    drift = start + np.linspace(0, total, times * CHORALE.shape[1] * SECOND)
    random = np.random.default_rng(2)
    own = random.uniform(-8, 8, (4, 1)) + random.normal(0, 6, (4, len(drift)))
    tracks = sing(CHORALE, drift + own, times)
    assert_same_chords(chords_of(tracks), np.tile(CHORALE, times))
    assert -49 <= tuning_of(tracks).cents <= 51


def test_notes_sound_where_they_were_sung() -> None:
    (notes,) = notes_of(sing(np.array([[69, 69, 72]]), 30))
    assert [
        (round(note.start_seconds / HOP_SECONDS), round(note.end_seconds / HOP_SECONDS), note.key) for note in notes
    ] == [(0, 2 * SECOND, 69), (2 * SECOND, 3 * SECOND, 72)]
    assert notes[0].f0_hz == pytest.approx(440 * 2 ** (30 / 1200), rel=1e-4)


@pytest.mark.parametrize("rate_hz", [4.5, 5.5, 6.5])
@pytest.mark.parametrize("extent_cents", [30, 50, 70, 100])
def test_vibrato_does_not_turn_the_tuning_around(extent_cents: float, rate_hz: float) -> None:
    """The mean of the residues of a swing of 40 to 88 cents would be half a semitone beside its middle."""
    seconds = np.arange(CHORALE.shape[1] * SECOND) * HOP_SECONDS
    swings = [np.sin(2 * np.pi * (rate_hz + 0.1 * voice) * seconds + voice) for voice in range(4)]
    tuning = tuning_of(sing(CHORALE, 20 + extent_cents * np.array(swings)))
    assert tuning.cents == pytest.approx(20, abs=10)


def test_what_the_model_is_not_sure_of_counts_less() -> None:
    sure, unsure = sing(CHORALE[:1], 10), sing(CHORALE[1:2], 50)
    tracks = np.concatenate([sure, unsure])
    voicing = np.concatenate([np.full_like(sure, 0.95), np.full_like(unsure, 0.05)])
    assert tuning_of(tracks, voicing).cents == pytest.approx(10, abs=4)
    assert tuning_of(tracks).cents == pytest.approx(30, abs=2)


def test_a_stretch_that_the_tracker_got_wrong_does_not_move_the_keys_after_it() -> None:
    cents = np.zeros(27 * SECOND)
    cents[10 * SECOND : 12 * SECOND] = 50
    random = np.random.default_rng(5)
    tracks = sing(CHORALE, cents + random.normal(0, 5, (4, len(cents))), 3)
    found = chords_of(tracks)
    keep = [second for second in range(27) if second not in (10, 11)]
    np.testing.assert_array_equal(found[:, keep], np.tile(CHORALE, 3)[:, keep])


def test_a_minute_of_silence_between_two_verses_changes_nothing() -> None:
    verse = sing(CHORALE, 42)
    tracks = np.concatenate([verse, np.zeros((4, 60 * SECOND), np.float32), verse], axis=1)
    tuning = tuning_of(tracks)
    assert tuning.cents == pytest.approx(42, abs=CENT)
    np.testing.assert_allclose(tuning.at(0, tracks.shape[1]), 0.42, atol=0.01)


@pytest.mark.parametrize("num_frames", [0, 1, 20, 500])
def test_silence_is_at_440_hz(num_frames: int) -> None:
    tuning = tuning_of(np.zeros((4, num_frames), np.float32))
    assert (tuning.cents, tuning.a4_hz) == (0, 440)
    assert tuning.at(0, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("num_frames", [1, 5, 40])
@pytest.mark.parametrize("cents", [-40, 0, 50])
def test_one_note_is_its_own_tuning(cents: float, num_frames: int) -> None:
    track = np.full((1, num_frames), 440 * 2 ** (cents / 1200), np.float32)
    assert tuning_of(track).cents == pytest.approx(cents, abs=CENT)


def test_what_is_no_number_is_no_pitch() -> None:
    tracks = sing(CHORALE, 20)
    broken = tracks.copy()
    broken[1, 50:80], broken[2, 20:40] = np.nan, np.inf
    voicing = np.ones_like(tracks)
    voicing[0, :30] = np.nan
    assert tuning_of(broken, voicing).cents == pytest.approx(20, abs=CENT)


def test_how_the_tracks_are_cut_changes_no_bit() -> None:
    random = np.random.default_rng(1)
    tracks = sing(CHORALE, random.normal(30, 20, (4, CHORALE.shape[1] * SECOND)))
    whole = tuning_of(tracks, block=10_000)
    for block in (1, 7, 64):
        tuning = tuning_of(tracks, block=block)
        assert tuning.cents == whole.cents
        np.testing.assert_array_equal(tuning.offsets, whole.offsets)


@pytest.mark.parametrize("hop_seconds", [0.005, 0.016, 0.064, 2.0])
def test_the_tuning_is_found_at_any_hop(hop_seconds: float) -> None:
    meter = TuningMeter(1, hop_seconds)
    meter.push(np.full((1, 200), 261.63 * 2 ** (25 / 1200), np.float32))
    assert meter.finish().cents == pytest.approx(25, abs=CENT)


def test_pitches_at_either_end_of_the_keyboard_have_keys_of_midi() -> None:
    for cents in (-45.0, 45.0):
        lowest, highest = 8.21, 12_490.0
        song = sing(np.array([[60] * 30]), cents)
        tracks = np.concatenate([song, np.full((1, 20), lowest, "f4"), np.full((1, 20), highest, "f4")], axis=1)
        (notes,) = notes_of(tracks)
        assert all(0 <= note.key <= 127 for note in notes)
        assert len(notes) == 3
