from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from divisi.delivery.notation_files import write_intonation
from divisi.notation.bars import NO_BARS, Bars
from divisi.notation.intonation import deviation_cents, drift_cents, intervals
from divisi.notation.notes import Note
from divisi.notation.tuning import CONCERT_TUNING, Tuning

HOP_SECONDS = 0.032


def note(key: int, cents: float = 0.0, start: float = 0.0, end: float = 1.0) -> Note:
    return Note(start, end, key, 440 * 2 ** ((key - 69 + cents / 100) / 12))


@pytest.mark.parametrize("cents", [-23.0, 0.0, 14.5])
def test_a_note_deviates_from_its_key_at_the_choir_s_tuning(cents: float) -> None:
    assert deviation_cents(note(69, cents), CONCERT_TUNING, HOP_SECONDS) == pytest.approx(cents)
    sharp = Tuning(20.0, np.array([0.2]), 100)
    assert deviation_cents(note(60, cents + 20), sharp, HOP_SECONDS) == pytest.approx(cents)


def test_a_choir_that_sinks_together_is_in_tune_and_drifts() -> None:
    sinking = Tuning(-15.0, np.array([0.0, -0.1, -0.2, -0.3]), 100)
    assert drift_cents(sinking) == pytest.approx(-30)
    late = 350 * HOP_SECONDS
    assert deviation_cents(note(64, -30, late - 1, late + 1), sinking, HOP_SECONDS) == pytest.approx(0, abs=0.5)


def test_intervals_are_measured_against_equal_and_just() -> None:
    """A pure major third below a fifth that is 3 cents wide, an octave and a third in the bass; a second counts not."""
    voices = [[note(67, 3.0)], [note(64, -13.69)], [note(62)], [note(48)]]
    found = {(one.lower[0], one.upper[0]): one for one in intervals(voices)}
    assert sorted(found) == [(1, 0), (3, 0), (3, 1)]
    assert found[3, 1].from_just == pytest.approx(0, abs=0.05)
    assert found[3, 1].from_equal == pytest.approx(-13.69, abs=0.05)
    assert found[3, 0].from_just == pytest.approx(3 - 1.955, abs=0.05)
    octave = next(intervals([[note(60, 5.0)], [note(48)]]))
    assert (octave.from_equal, octave.from_just) == (pytest.approx(5), pytest.approx(5))


def test_notes_that_hardly_meet_are_no_interval() -> None:
    assert list(intervals([[note(64, 0, 0, 1)], [note(60, 0, 0.9, 2)]])) == []


def test_the_files_say_it_by_note_voice_bar_and_interval(tmp_path: Path) -> None:
    upper = [note(64, 10, 0, 1), note(65, -20, 1, 2), note(64, 10, 2, 3), note(62, 0, 3, 4), note(64, 6, 4, 5)]
    voices = {"soprano": upper, "bass": [note(48, 0, 0, 5)], "alto": []}
    bars = Bars(np.arange(5.0), 4, 0, None)
    paths = write_intonation(tmp_path, voices, CONCERT_TUNING, HOP_SECONDS, bars)
    assert [path.name for path in paths] == ["intonation.csv", "intonation.json"]
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["voice"], row["bar"], row["beat"], row["cents"]) for row in rows] == [
        *[("soprano", "1", "1", "10.0"), ("soprano", "1", "2", "-20.0"), ("soprano", "1", "3", "10.0")],
        *[("soprano", "1", "4", "0.0"), ("soprano", "2", "1", "6.0"), ("bass", "1", "1", "0.0")],
    ]
    document = json.loads(paths[1].read_text())
    assert document["voices"]["soprano"] == {"notes": 5, "median_cents": 6.0, "typical_cents": 10.0}
    assert document["voices"]["alto"] == {"notes": 0, "median_cents": None, "typical_cents": None}
    assert document["bars"][1] == {"bar": 2, "notes": 1, "median_cents": 6.0, "typical_cents": 6.0}
    assert document["intervals"]["major_thirds"]["count"] == 3
    assert document["intervals"]["major_thirds"]["typical_from_just"] == pytest.approx(23.7, abs=0.1)


def test_without_beats_notes_have_no_bar(tmp_path: Path) -> None:
    write_intonation(tmp_path, {"alto": [note(60)]}, CONCERT_TUNING, HOP_SECONDS, NO_BARS)
    assert json.loads((tmp_path / "intonation.json").read_text())["bars"] == []
