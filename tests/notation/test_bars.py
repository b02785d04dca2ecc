from __future__ import annotations

import numpy as np
import pytest

from divisi.notation.bars import Bars, Key, find_bars, find_key
from divisi.notation.beats import find_beats
from divisi.notation.notes import Note

# What listeners take for the same moment; the field's measure of beats.
SAME_SECONDS = 0.07
# "Now thank we all our God", first two lines as quarters: soprano and bass, keys and lengths.
SOPRANO = [(67, 1), (67, 1), (67, 1), (69, 1), (69, 1), (67, 3), (64, 1), (65, 1), (64, 1), (62, 1), (64, 1), (62, 1)]
BASS = [(48, 1), (52, 1), (55, 1), (53, 1), (53, 1), (48, 3), (48, 1), (50, 1), (48, 1), (43, 1), (48, 1), (43, 1)]
SOPRANO_END, BASS_END = [(60, 4)], [(48, 4)]


def sung(line: list[tuple[int, int]], moments: np.ndarray, seed: int) -> list[Note]:
    """Notes of whole beats whose moments are given; each singer is early or late by some hundredths of a second."""
    random = np.random.default_rng(seed)
    notes, now = [], 0
    for key, length in line:
        start, end = moments[now] + random.normal(0, 0.015), moments[now + length] - 0.05
        notes.append(Note(float(max(start, 0)), float(end), key, 440 * 2 ** ((key - 69) / 12)))
        now += length
    return notes


def moments_at(beats_a_minute: float, count: int = 60) -> np.ndarray:
    return 0.8 + np.arange(count) * 60 / beats_a_minute


def choir(moments: np.ndarray) -> list[list[Note]]:
    upper, lower = SOPRANO * 2 + SOPRANO_END, BASS * 2 + BASS_END
    thirds = [(key - 3, length) for key, length in upper]
    fifths = [(key - 7, length) for key, length in upper]
    return [sung(line, moments, seed) for seed, line in enumerate((upper, thirds, fifths, lower))]


def share_found(true: np.ndarray, found: np.ndarray) -> float:
    """F1 of beats."""
    hits = (np.abs(true[:, None] - found) < SAME_SECONDS).any(axis=1).sum()
    return 2 * hits / (len(true) + len(found))


@pytest.mark.parametrize("beats_a_minute", [52, 66, 80, 96, 112])
def test_beats_are_found_at_any_usual_tempo(beats_a_minute: float) -> None:
    moments = moments_at(beats_a_minute)
    bars = find_bars(choir(moments))
    assert bars.usual_tempo == pytest.approx(beats_a_minute, rel=0.03)
    assert share_found(moments[:32], bars.beats) > 0.9


def test_beats_follow_a_ritardando() -> None:
    lengths = 0.7 * np.where(np.arange(60) < 20, 1.0, 1 + 0.05 * (np.arange(60) - 20))
    moments = 0.8 + np.concatenate([[0], np.cumsum(lengths)])
    bars = find_bars(choir(moments))
    assert share_found(moments[:32], bars.beats) > 0.9
    assert bars.beats_a_minute[-1] < 0.8 * bars.beats_a_minute[0]


def test_halves_of_beats_are_no_beats() -> None:
    moments = moments_at(72)
    halves = (moments[:30:2] + moments[1:31:2]) / 2
    beats = find_beats(np.concatenate([moments[:30]] * 3 + [halves]), np.full(105, 0.5), 26.0)
    assert share_found(moments[:30], beats) > 0.9


@pytest.mark.parametrize("onsets", [[], [1.0], [1.0, 1.0]])
def test_there_are_no_beats_without_two_moments(onsets: list[float]) -> None:
    assert len(find_beats(np.array(onsets), np.ones(len(onsets)), 2.0)) == 0


def test_the_melody_says_where_a_bar_begins_when_the_others_are_long_elsewhere() -> None:
    moments = moments_at(84)
    melody = [(67, 2), (69, 1), (71, 1)] * 8
    others = [(60, 1), (62, 2), (64, 1)] * 8
    bars = find_bars([sung(line, moments, seed) for seed, line in enumerate((melody, others, others))])
    assert (bars.beats_a_bar, bars.first_downbeat) == (4, 0)


@pytest.mark.parametrize(("rhythm", "beats_a_bar"), [([2, 1], 3), ([2, 1, 1], 4)])
@pytest.mark.parametrize("pickup", [0, 1])
def test_bars_begin_with_long_notes_after_a_pickup_or_none(rhythm: list[int], beats_a_bar: int, pickup: int) -> None:
    moments = moments_at(84)
    keys = iter(np.random.default_rng(1).integers(60, 68, 99).tolist())
    line = [(next(keys), 1)] * pickup + [(next(keys), length) for _ in range(10) for length in rhythm]
    bars = find_bars([sung([(key - low, n) for key, n in line], moments, low) for low in (0, 4, 9, 16)])
    assert (bars.beats_a_bar, bars.first_downbeat) == (beats_a_bar, pickup)
    assert share_found(moments[pickup : 10 * beats_a_bar + pickup : beats_a_bar], bars.downbeats) > 0.9


def test_a_pickup_is_bar_0() -> None:
    bars = Bars(np.arange(6.0), 4, 1, None)
    assert [bars.place_of(beat) for beat in range(6)] == [(0, 4), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]


def test_the_key_is_that_of_the_scale() -> None:
    major = find_key([note for voice in choir(moments_at(80)) for note in voice])
    assert major is not None
    assert major.name == "C major"
    scale = [57, 60, 64, 57, 62, 65, 57, 56, 59, 64, 57, 60, 64, 57]
    minor = find_key([Note(place, place + 1.0, key, 1.0) for place, key in enumerate(scale)])
    assert minor is not None
    assert (minor.name, minor.fifths) == ("A minor", 0)
    assert find_key([]) is None


@pytest.mark.parametrize(
    ("tonic", "is_minor", "name", "fifths"),
    [
        (3, False, "E flat major", -3),
        (6, False, "F sharp major", 6),
        (6, True, "F sharp minor", 3),
        (10, True, "B flat minor", -5),
    ],
)
def test_keys_are_called_as_singers_know_them(tonic: int, is_minor: bool, name: str, fifths: int) -> None:
    key = Key(tonic, is_minor, 1.0)
    assert (key.name, key.fifths) == (name, fifths)


def test_a_choir_that_does_not_sing_has_no_bars() -> None:
    bars = find_bars([[], []])
    assert (len(bars.beats), bars.key, bars.usual_tempo) == (0, None, None)
    assert len(bars.beats_a_minute) == 0
