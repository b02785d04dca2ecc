"""Notes as they are written: on a grid of quarters of a beat, in bars, with rests, and spelt in their key.

A beat is written as a quarter note. Notes begin on the nearest place of the grid, rather on a beat than between beats;
short gaps before the next note are consonants and breaths, longer ones are rests.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.notation.bars import Bars, Key
from divisi.notation.notes import Note

TICKS = 4
"""Of the grid, to a beat."""
# How much farther from a beat's half and from its quarters a note must be nearer to them, in beats.
_HALF_COST, _QUARTER_COST = 0.03, 0.07
# A silence shorter than this before the next note is not written, in beats.
_SHORTEST_REST = 0.6
# Notes and rests that have a sign of their own, in ticks, longest first: a dotted half is 12, a sixteenth 1.
_SIGNS = (16, 12, 8, 6, 4, 3, 2, 1)


@dataclass(frozen=True)
class WrittenNote:
    """A note or, where `key` is None, a rest, from one tick up to another."""

    start: int
    end: int
    key: int | None


@dataclass(frozen=True)
class Sign:
    """One sign of a bar: `length` ticks, of a note or a rest; tied to what is before or after it."""

    length: int
    key: int | None
    is_tied_before: bool = False
    is_tied_after: bool = False


@dataclass(frozen=True)
class WrittenBar:
    """Attributes:
    number: from 1; 0 is a pick-up.
    start, end: ticks.
    beats_a_minute: at its beginning.
    """

    number: int
    start: int
    end: int
    beats_a_minute: float


@dataclass(frozen=True)
class Spelling:
    """How a pitch is written: `step` A to G, `alter` in semitones, `octave` as of C4, the middle C."""

    step: str
    alter: int
    octave: int


class Grid:
    """Places moments on the beats, which go on at the same pace before the first and after the last.

    `end` is the tick after the last beat: a last note that is held longer still, or a slip of the tracker as a voice
    dies away, does not open another bar.
    """

    def __init__(self, beats: NDArray[np.float64]) -> None:
        lead, tail = 2 * beats[0] - beats[1], 2 * beats[-1] - beats[-2]
        far = 1_000
        self._seconds = np.concatenate(
            [[beats[0] - far * (beats[0] - lead)], beats, [beats[-1] + far * (tail - beats[-1])]]
        )
        self._beats = np.concatenate([[-far], np.arange(len(beats)), [len(beats) - 1 + far]])
        self.end = len(beats) * TICKS

    def beats_at(self, seconds: float) -> float:
        """Beats after the first, with fractions."""
        return float(np.interp(seconds, self._seconds, self._beats))

    def tick_at(self, seconds: float) -> int:
        """The nearest place to write something that begins then."""
        beats = self.beats_at(seconds)
        candidates = range(int(np.floor(beats * TICKS)) - 1, int(np.ceil(beats * TICKS)) + 2)
        return min(candidates, key=lambda tick: abs(tick / TICKS - beats) + _cost_of(tick))


def _cost_of(tick: int) -> float:
    return (0.0, _QUARTER_COST, _HALF_COST, _QUARTER_COST)[tick % TICKS]


def written(notes: Sequence[Note], grid: Grid) -> list[WrittenNote]:
    """One voice's notes and the rests between them, without gaps from tick 0 on."""
    notes = [note for note in notes if grid.tick_at(note.start_seconds) < grid.end]
    starts: list[int] = []
    for note in notes:
        earliest = starts[-1] + 1 if starts else 0
        starts.append(max(grid.tick_at(note.start_seconds), earliest))
    line: list[WrittenNote] = []
    for place, (note, start) in enumerate(zip(notes, starts, strict=True)):
        end = max(min(round(grid.beats_at(note.end_seconds) * 2) * TICKS // 2, grid.end), start + 1)
        if place + 1 < len(notes):
            following = starts[place + 1]
            silence = grid.beats_at(notes[place + 1].start_seconds) - grid.beats_at(note.end_seconds)
            end = following if silence < _SHORTEST_REST else min(end, following)
        now = line[-1].end if line else 0
        if start > now:
            line.append(WrittenNote(now, start, None))
        line.append(WrittenNote(start, end, note.key))
    return line


def bars_of(bars: Bars, end: int) -> list[WrittenBar]:
    """The bars up to a tick."""
    length, now = bars.beats_a_bar * TICKS, 0
    found = []
    tempo = bars.beats_a_minute
    if bars.first_downbeat:
        now = bars.first_downbeat * TICKS
        found.append(WrittenBar(0, 0, now, float(tempo[0])))
    while now < end or not found:
        beat = min(now // TICKS, len(tempo) - 1)
        found.append(WrittenBar(len(found) + (0 if bars.first_downbeat else 1), now, now + length, float(tempo[beat])))
        now += length
    return found


def signs_of(line: Sequence[WrittenNote], bar: WrittenBar) -> Iterator[Sign]:
    """What is written in one bar: notes cut at its ends and into lengths that there are signs for, tied; and rests."""
    now = bar.start
    for place in range(bisect_right(line, bar.start, key=lambda note: note.end), len(line)):
        note = line[place]
        if note.start >= bar.end:
            break
        now = min(note.end, bar.end)
        yield from _signs(note, max(note.start, bar.start), now)
    if now < bar.end:
        yield from _signs(WrittenNote(now, bar.end, None), now, bar.end)


def _signs(note: WrittenNote, start: int, end: int) -> Iterator[Sign]:
    while start < end:
        length = next(sign for sign in _SIGNS if sign <= end - start)
        is_note = note.key is not None
        yield Sign(length, note.key, is_note and start > note.start, is_note and start + length < note.end)
        start += length


def spelt(key: int, signature: Key | None) -> Spelling:
    """How a key of the piano is written in a key: with the signs nearest to its own on the line of fifths."""
    fifths = signature.fifths if signature else 0
    lowest = fifths - 3
    place = lowest + (7 * key - lowest) % 12
    alter, letter = divmod(place + 1, 7)
    return Spelling("FCGDAEB"[letter], alter, (key - alter) // 12 - 1)


def part_name(voice: str) -> str:
    """As printed beside the staff: "voice-1" is "Voice 1"."""
    return voice.replace("-", " ").replace("_", " ").capitalize()


def written_parts(voices: Mapping[str, Sequence[Note]], bars: Bars) -> dict[str, list[WrittenNote]]:
    """Every voice on one grid."""
    grid = Grid(bars.beats)
    return {name: written(notes, grid) for name, notes in voices.items()}
