"""Notes from a pitch track: what a singer would read, not every turn of the voice. One voice, frame by frame.

A note goes on while the pitch stays near the note's own middle. It gives way to another only when the pitch has stayed
away for longer than a swing of vibrato, and ends when the voice has been silent for longer than a slip of the tracker.
A scoop that is too short to be a note belongs to the note it leads to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Less than a semitone by what singers are out of tune, more than vibrato strays for as long as _CHANGE_SECONDS.
_TOLERANCE_SEMITONES = 0.65
# Half a swing of a slow vibrato (5 Hz).
_CHANGE_SECONDS = 0.1
# Consonants between syllables last longer, and do end a note.
_GAP_SECONDS = 0.065
_SHORTEST_SECONDS = 0.1
_BINS_PER_SEMITONE = 20
_A4_HZ, _A4_NUMBER = 440.0, 69
# What MIDI has keys for; no voice comes near either end.
_LOWEST_HZ, _HIGHEST_HZ = 8.0, 12_800.0


@dataclass(frozen=True, slots=True)
class Note:
    """One note.

    Attributes:
        start: its first frame.
        end: the frame after its last.
        number: of the nearest key, as in MIDI: 69 is A4.
        f0_hz: median of its pitch.
    """

    start: int
    end: int
    number: int
    f0_hz: float


class NoteFinder:
    """Takes a pitch track, gives the notes that have ended; holds one note.

    Args:
        hop_seconds: from one frame to the next.
    """

    def __init__(self, hop_seconds: float) -> None:
        self._change_frames = max(2, round(_CHANGE_SECONDS / hop_seconds))
        self._gap_frames = int(_GAP_SECONDS / hop_seconds)
        self._shortest_frames = max(2, round(_SHORTEST_SECONDS / hop_seconds))
        self._num_frames = 0
        self._note: _OpenNote | None = None
        # Frames in a row whose pitch is away from the note's: they may begin another.
        self._away: list[tuple[int, float]] = []
        self._last_voiced = 0

    def push(self, f0_hz: NDArray[np.float32]) -> Iterator[Note]:
        """Takes the next frames, float32 (N,) in Hz, 0 where unvoiced."""
        for pitch_hz in f0_hz.tolist():
            if _LOWEST_HZ < pitch_hz < _HIGHEST_HZ:
                yield from self._take(_A4_NUMBER + 12 * math.log2(pitch_hz / _A4_HZ))
                self._last_voiced = self._num_frames
            elif self._num_frames - self._last_voiced > self._gap_frames:
                yield from self.finish()
            self._num_frames += 1

    def finish(self) -> Iterator[Note]:
        """The note that has not ended before the track did, if it is one."""
        if self._note is not None and self._last_voiced + 1 - self._note.start >= self._shortest_frames:
            yield self._note.closed(self._last_voiced + 1)
        self._note = None
        self._away = []

    def _take(self, pitch: float) -> Iterator[Note]:
        if self._note is None:
            self._note = _OpenNote(self._num_frames, [pitch])
        elif abs(pitch - self._note.middle) <= _TOLERANCE_SEMITONES:
            self._note.take(pitch)
            self._away = []
        else:
            self._away.append((self._num_frames, pitch))
            if len(self._away) == self._change_frames:
                yield from self._change()

    def _change(self) -> Iterator[Note]:
        assert self._note is not None
        start = self._away[0][0]
        if start - self._note.start >= self._shortest_frames:
            yield self._note.closed(start)
        else:
            start = self._note.start
        self._note = _OpenNote(start, [pitch for _, pitch in self._away])
        self._away = []


class _OpenNote:
    """A note that goes on, and how often it had which pitch."""

    def __init__(self, start: int, pitches: list[float]) -> None:
        self.start = start
        self.middle = 0.0
        self._counts: Counter[int] = Counter()
        for pitch in pitches:
            self.take(pitch)

    def take(self, pitch: float) -> None:
        """Counts a pitch, in semitones as of MIDI, and moves the middle: the median."""
        self._counts[round(pitch * _BINS_PER_SEMITONE)] += 1
        rest = self._counts.total() / 2
        for place in sorted(self._counts):
            rest -= self._counts[place]
            if rest <= 0:
                self.middle = place / _BINS_PER_SEMITONE
                return

    def closed(self, end: int) -> Note:
        f0_hz = _A4_HZ * 2 ** ((self.middle - _A4_NUMBER) / 12)
        return Note(self.start, end, round(self.middle), f0_hz)
