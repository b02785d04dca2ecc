"""How well a choir is in tune: each note against the choir's own tuning, and against the voices that sound with it.

A note's deviation is its median pitch against its key, at the tuning that the choir has at that moment, so a choir that
sinks together is in tune with itself; how far it has sunk is its drift. Against another voice, a third, fifth or octave
is compared with the equal and with the just one (5:4, 6:5, 3:2, 2:1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from divisi.notation.notes import Note
from divisi.notation.tuning import Tuning, hz_of

JUST_CENTS = {3: 315.64, 4: 386.31, 7: 701.96, 12: 1200.0}
"""By semitones, within the octave; the octave itself is 12."""
# Shorter, and two notes are not heard as an interval.
_SHORTEST_SECONDS = 0.25


@dataclass(frozen=True)
class Interval:
    """Two voices that sound together: places of lower and upper note, from when to when, and how wide it is."""

    lower: tuple[int, int]
    upper: tuple[int, int]
    start_seconds: float
    end_seconds: float
    semitones: int
    cents: float

    @property
    def from_equal(self) -> float:
        """Cents by which it is wider than on a piano."""
        return self.cents - 100 * self.semitones

    @property
    def from_just(self) -> float:
        """Cents by which it is wider than without beats."""
        octaves = (self.semitones - 1) // 12
        within = self.semitones - 12 * octaves
        return self.cents - 1200 * octaves - JUST_CENTS[within]


def deviation_cents(note: Note, tuning: Tuning, hop_seconds: float) -> float:
    """Of a note above its key at the tuning of that moment; `hop_seconds` is that of the tuning's frames."""
    middle = round((note.start_seconds + note.end_seconds) / 2 / hop_seconds)
    key_hz = hz_of(note.key + float(tuning.at(middle, 1)[0]))
    return 1200 * math.log2(note.f0_hz / key_hz)


def drift_cents(tuning: Tuning) -> float:
    """How far the choir has risen from the first seconds to the last; below 0 it sank."""
    return float(100 * (tuning.offsets[-1] - tuning.offsets[0]))


def intervals(voices: Sequence[Sequence[Note]]) -> Iterator[Interval]:
    """All thirds, fifths and octaves between neighbouring notes of two voices, in order of voices and time.

    Args:
        voices: notes of each, in order of time, highest voice first.
    """
    for one in range(len(voices)):
        for other in range(one + 1, len(voices)):
            for first, second in _together(voices[one], voices[other]):
                notes = sorted(((one, first), (other, second)), key=lambda at: voices[at[0]][at[1]].f0_hz)
                low, high = (voices[voice][place] for voice, place in notes)
                semitones = high.key - low.key
                if semitones > 0 and (semitones - 1) % 12 + 1 in JUST_CENTS:
                    start, end = max(low.start_seconds, high.start_seconds), min(low.end_seconds, high.end_seconds)
                    cents = 1200 * math.log2(high.f0_hz / low.f0_hz)
                    yield Interval(notes[0], notes[1], start, end, semitones, cents)


def _together(one: Sequence[Note], other: Sequence[Note]) -> Iterator[tuple[int, int]]:
    """Places of the notes that sound at the same time for long enough."""
    first = second = 0
    while first < len(one) and second < len(other):
        start = max(one[first].start_seconds, other[second].start_seconds)
        end = min(one[first].end_seconds, other[second].end_seconds)
        if end - start >= _SHORTEST_SECONDS:
            yield first, second
        if one[first].end_seconds <= other[second].end_seconds:
            first += 1
        else:
            second += 1


def typical(values: Sequence[float]) -> float | None:
    """Median of the sizes, whichever way they point; None of nothing."""
    return float(np.median(np.abs(values))) if len(values) else None
