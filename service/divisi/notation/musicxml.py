"""Parts as MusicXML 4.0 (W3C, 2021), partwise: what score editors open. One staff for each voice, as it was sung.

Only what version 2.0 has, too, is used: its schema, which is at hand, holds these files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TextIO
from xml.etree import ElementTree as ET

from divisi.notation.bars import Bars
from divisi.notation.notes import Note
from divisi.notation.written import (
    TICKS,
    Sign,
    WrittenBar,
    WrittenNote,
    bars_of,
    part_name,
    signs_of,
    spelt,
    written_parts,
)

_DOCTYPE = (
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    '"http://www.musicxml.org/dtds/partwise.dtd">'
)
# Type and dots of each length in ticks.
_TYPES = {
    16: ("whole", 0),
    12: ("half", 1),
    8: ("half", 0),
    6: ("quarter", 1),
    4: ("quarter", 0),
    3: ("eighth", 1),
    2: ("eighth", 0),
    1: ("16th", 0),
}
_CHOIR_AAHS = 53
# The median note from which on a staff has this clef: sign, line, octaves.
_CLEFS = ((57, ("G", 2, 0)), (50, ("G", 2, -1)), (0, ("F", 4, 0)))
# A tempo that differs by less than this share from the one before is not said again.
_TEMPO_CHANGE = 0.05
_LOWEST_TEMPO = 10.0


def write_musicxml(path: Path, title: str, voices: Mapping[str, Sequence[Note]], bars: Bars) -> None:
    """Writes one score.

    Args:
        path: file to create or replace.
        title: of the piece.
        voices: notes of each part by its name, in score order.
        bars: of the whole piece; with fewer than two beats, a second is a beat.
    """
    bars = bars.or_seconds(max((note.end_seconds for notes in voices.values() for note in notes), default=0.0))
    parts = written_parts(voices, bars)
    measures = bars_of(bars, max((line[-1].end for line in parts.values() if line), default=0))
    with path.open("w", encoding="utf-8") as file:
        file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{_DOCTYPE}\n<score-partwise version="4.0">\n')
        for element in _header(title, list(parts)):
            _write(file, element)
        for number, line in enumerate(parts.values(), start=1):
            file.write(f'<part id="P{number}">\n')
            for measure in _measures(line, measures, bars, says_tempo=number == 1):
                _write(file, measure)
            file.write("</part>\n")
        file.write("</score-partwise>\n")


def _write(file: TextIO, element: ET.Element) -> None:
    """Bar by bar: the elements of a long piece would take more room than its notes."""
    ET.indent(element)
    file.write(ET.tostring(element, encoding="unicode") + "\n")


def _header(title: str, names: Sequence[str]) -> Iterator[ET.Element]:
    work = ET.Element("work")
    ET.SubElement(work, "work-title").text = title
    yield work
    identification = ET.Element("identification")
    ET.SubElement(ET.SubElement(identification, "encoding"), "software").text = "divisi"
    yield identification
    listed = ET.Element("part-list")
    for number, name in enumerate(names, start=1):
        _list_part(listed, number, part_name(name))
    yield listed


def _measures(
    line: Sequence[WrittenNote], measures: Sequence[WrittenBar], bars: Bars, *, says_tempo: bool
) -> Iterator[ET.Element]:
    tempo = 0.0
    for place, bar in enumerate(measures):
        measure = ET.Element("measure", number=str(bar.number))
        if bar.number == 0:
            measure.set("implicit", "yes")
        if place == 0:
            _attributes(measure, line, bars)
        if says_tempo and abs(bar.beats_a_minute - tempo) > _TEMPO_CHANGE * bar.beats_a_minute:
            tempo = bar.beats_a_minute
            _tempo(measure, tempo)
        _bar(measure, line, bar, bars)
        yield measure


def _list_part(listed: ET.Element, number: int, name: str) -> None:
    part = ET.SubElement(listed, "score-part", id=f"P{number}")
    ET.SubElement(part, "part-name").text = name
    instrument = ET.SubElement(part, "score-instrument", id=f"P{number}-I1")
    ET.SubElement(instrument, "instrument-name").text = "Voice"
    midi = ET.SubElement(part, "midi-instrument", id=f"P{number}-I1")
    ET.SubElement(midi, "midi-program").text = str(_CHOIR_AAHS)


def _attributes(measure: ET.Element, line: Sequence[WrittenNote], bars: Bars) -> None:
    attributes = ET.SubElement(measure, "attributes")
    ET.SubElement(attributes, "divisions").text = str(TICKS)
    key = ET.SubElement(attributes, "key")
    ET.SubElement(key, "fifths").text = str(bars.key.fifths if bars.key else 0)
    if bars.key:
        ET.SubElement(key, "mode").text = "minor" if bars.key.is_minor else "major"
    time = ET.SubElement(attributes, "time")
    ET.SubElement(time, "beats").text = str(bars.beats_a_bar)
    ET.SubElement(time, "beat-type").text = "4"
    middle = median([note.key for note in line if note.key is not None] or [_CLEFS[0][0]])
    sign, on_line, octaves = next(clef for lowest, clef in _CLEFS if middle >= lowest)
    clef = ET.SubElement(attributes, "clef")
    ET.SubElement(clef, "sign").text = sign
    ET.SubElement(clef, "line").text = str(on_line)
    if octaves:
        ET.SubElement(clef, "clef-octave-change").text = str(octaves)


def _tempo(measure: ET.Element, beats_a_minute: float) -> None:
    rounded = max(round(beats_a_minute), _LOWEST_TEMPO)
    direction = ET.SubElement(measure, "direction", placement="above")
    metronome = ET.SubElement(ET.SubElement(direction, "direction-type"), "metronome")
    ET.SubElement(metronome, "beat-unit").text = "quarter"
    ET.SubElement(metronome, "per-minute").text = f"{rounded:g}"
    ET.SubElement(direction, "sound", tempo=f"{rounded:g}")


def _bar(measure: ET.Element, line: Sequence[WrittenNote], bar: WrittenBar, bars: Bars) -> None:
    signs = list(signs_of(line, bar))
    if all(sign.key is None for sign in signs):
        note = ET.SubElement(measure, "note")
        ET.SubElement(note, "rest")  # without a type: of the whole bar
        ET.SubElement(note, "duration").text = str(bar.end - bar.start)
        ET.SubElement(note, "voice").text = "1"
        return
    for sign in signs:
        _note(measure, sign, bars)


def _note(measure: ET.Element, sign: Sign, bars: Bars) -> None:
    """Children stand in the order that the schema asks for."""
    note = ET.SubElement(measure, "note")
    if sign.key is None:
        ET.SubElement(note, "rest")
    else:
        spelling = spelt(sign.key, bars.key)
        pitch = ET.SubElement(note, "pitch")
        ET.SubElement(pitch, "step").text = spelling.step
        if spelling.alter:
            ET.SubElement(pitch, "alter").text = str(spelling.alter)
        ET.SubElement(pitch, "octave").text = str(spelling.octave)
    ET.SubElement(note, "duration").text = str(sign.length)
    ties = [kind for kind, is_tied in (("stop", sign.is_tied_before), ("start", sign.is_tied_after)) if is_tied]
    for kind in ties:
        ET.SubElement(note, "tie", type=kind)
    ET.SubElement(note, "voice").text = "1"
    name, dots = _TYPES[sign.length]
    ET.SubElement(note, "type").text = name
    for _ in range(dots):
        ET.SubElement(note, "dot")
    if ties:
        notations = ET.SubElement(note, "notations")
        for kind in ties:
            ET.SubElement(notations, "tied", type=kind)
