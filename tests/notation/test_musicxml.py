"""Scores are valid, and what music21 and verovio read in them is what was sung."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import music21
import numpy as np
import pytest
import verovio
import xmlschema

from divisi.notation.bars import NO_BARS, Bars, Key
from divisi.notation.musicxml import write_musicxml
from divisi.notation.notes import Note

E_FLAT = Key(3, False, 1.0)
# Quarters and keys; a pick-up of one, then bars of four.
SOPRANO = [(1, 70), (2, 75), (1, 74), (1, 72), (6, 70), (1, 68), (1.5, 67), (0.5, 66), (3, 67)]
BASS = [(1, 46), (1, 51), (1, 50), (2, None), (4, 43), (4, 44), (4, 51)]
FIRST_SECONDS, BEAT_SECONDS = 0.4, 0.8
BEATS = FIRST_SECONDS + BEAT_SECONDS * np.arange(17)
BARS = Bars(BEATS, 4, 1, E_FLAT)


def sung(line: list[tuple[float, int | None]], seed: int) -> list[Note]:
    """Each note some hundredths of a second early or late, and short of the next by a consonant."""
    random = np.random.default_rng(seed)
    ends = np.cumsum([length for length, _ in line])
    notes = []
    for (length, key), end in zip(line, ends, strict=True):
        start_seconds, end_seconds = (FIRST_SECONDS + BEAT_SECONDS * beats for beats in (end - length, end))
        if key is not None:
            notes.append(Note(start_seconds + random.uniform(-0.05, 0.05), end_seconds - 0.1, key, 440.0))
    return notes


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("score") / "score.musicxml"
    write_musicxml(path, "Ave <verum> & more", {"soprano": sung(SOPRANO, 1), "bass-1": sung(BASS, 2)}, BARS)
    return path


@functools.cache
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(music21.__file__).parent / "musicxml/musicxml.xsd", validation="lax")


def is_valid(path: Path) -> bool:
    """By the schema of MusicXML 2.0, which music21 carries; those it imports are built into xmlschema."""
    errors = list(schema().iter_errors(ET.parse(path).getroot()))
    assert errors == [], errors[:1]
    return True


def test_the_score_keeps_to_the_schema(score: Path) -> None:
    assert is_valid(score)


def test_music21_reads_what_was_sung(score: Path) -> None:
    read = music21.converter.parse(score, forceSource=True)
    assert read.metadata.title == "Ave <verum> & more"
    assert [part.partName for part in read.parts] == ["Soprano", "Bass 1"]
    for part, line in zip(read.parts, (SOPRANO, BASS), strict=True):
        assert [(note.pitch.midi, note.quarterLength) for note in part.flatten().stripTies().notes] == [
            (key, length) for length, key in line if key is not None
        ]
    measures = read.parts[0].getElementsByClass(music21.stream.Measure)
    assert [measure.number for measure in measures] == [0, 1, 2, 3, 4]
    assert [measure.duration.quarterLength for measure in measures] == [1, 4, 4, 4, 4]
    first = measures[0]
    assert (first.keySignature.sharps, first.timeSignature.ratioString) == (-3, "4/4")
    assert [type(part.recurse().getElementsByClass("Clef")[0]).__name__ for part in read.parts] == [
        *("TrebleClef", "BassClef")
    ]
    assert {note.pitch.name for note in read.parts[0].flatten().notes} == {"B-", "E-", "D", "C", "A-", "G", "G-"}
    (tempo,) = read.recurse().getElementsByClass("MetronomeMark")
    assert tempo.number == round(60 / BEAT_SECONDS)


def test_a_note_across_a_bar_line_is_tied(score: Path) -> None:
    part = music21.converter.parse(score, forceSource=True).parts[0]
    tied = [note for note in part.flatten().notes if note.tie is not None]
    assert [(note.pitch.midi, note.quarterLength, note.tie.type) for note in tied] == [
        *((70, 4, "start"), (70, 2, "stop")),
        *((67, 1, "start"), (67, 0.5, "stop")),
    ]


@pytest.mark.parametrize("tail", [[], [Note(float(BEATS[-1]) + 1.1 * BEAT_SECONDS, 14.9, 55, 196.0)]])
def test_what_sounds_on_after_the_last_beat_opens_no_bar(tail: list[Note], tmp_path: Path) -> None:
    last = Note(float(BEATS[13]), float(BEATS[-1]) + 1.4 * BEAT_SECONDS, 67, 392.0)
    write_musicxml(tmp_path / "score.musicxml", "", {"alto": [*sung(SOPRANO[:4], 1), last], "tenor": tail}, BARS)
    read = music21.converter.parse(tmp_path / "score.musicxml", forceSource=True)
    assert [measure.number for measure in read.parts[0].getElementsByClass("Measure")] == [0, 1, 2, 3, 4]
    assert read.parts[0].flatten().stripTies().notes[-1].quarterLength == 4
    assert not read.parts[1].flatten().notes


def test_verovio_engraves_it_without_complaint(score: Path) -> None:
    toolkit = verovio.toolkit()
    assert toolkit.loadFile(str(score))
    assert toolkit.getPageCount() == 1
    drawing = toolkit.renderToSVG(1)
    assert drawing.count('class="note"') == sum(1 for _ in ET.parse(score).iter("pitch"))
    assert drawing.count('class="measure"') == 5


@pytest.mark.parametrize(
    "voices",
    [
        {},
        {"alto": []},
        {"alto": [Note(0.0, 0.3, 60, 261.6)], "tenor": []},
        {"alto": [Note(3.0, 9.7, 60, 261.6), Note(9.7, 9.75, 61, 277.2), Note(9.75, 9.8, 62, 293.7)]},
    ],
)
def test_whatever_was_sung_is_a_valid_score(voices: dict[str, list[Note]], tmp_path: Path) -> None:
    write_musicxml(tmp_path / "score.musicxml", "", voices or {"alto": []}, NO_BARS)
    assert is_valid(tmp_path / "score.musicxml")


def test_every_bar_is_full_whatever_the_rhythm(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    bounds = np.sort(random.uniform(0.2, 30, 90))
    notes = [
        Note(a, b, int(random.integers(48, 80)), 261.6) for a, b in itertools.pairwise(bounds) if random.random() < 0.8
    ]
    beats = np.cumsum(random.uniform(0.5, 0.9, 48))
    write_musicxml(tmp_path / "score.musicxml", "", {"alto": notes}, Bars(beats, 3, 2, Key(6, True, 1.0)))
    assert is_valid(tmp_path / "score.musicxml")
    measures = list(ET.parse(tmp_path / "score.musicxml").iter("measure"))
    lengths = [sum(int(duration.text or 0) for duration in measure.iter("duration")) for measure in measures]
    assert lengths == [8] + [12] * (len(measures) - 1)
    assert len(measures) > 10
