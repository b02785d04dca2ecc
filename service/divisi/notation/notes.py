"""Notes from a pitch track: what a singer would read, not every turn of the voice. One voice, in flat memory.

Silence longer than a slip of the tracker parts phrases. Within a phrase the notes are the cheapest way to explain the
pitch by steady keys: each frame costs its distance from the key, each change of key a fixed price. So vibrato, scoops
and being out of tune stay within their note, as changing there and back would cost more, and a new note needs to stay.
Keys lie where the whole choir has them (`tuning`), so that voices that sing one chord are written as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.notation.tuning import CONCERT_TUNING, Tuning, hz_of, keys_of

# Semitones times seconds. A step of a semitone and back pays from 0.16 s on, a wider one from 0.08 s on; a swing of
# vibrato by a semitone at 4.5 Hz is worth 0.05.
_CHANGE_COST = 0.08
# Semitones: beyond, a slip of the tracker costs no more however far it goes.
_FARTHEST_SLIP = 2.0
# Consonants between syllables last longer, and do end a note.
_GAP_SECONDS = 0.065
_SHORTEST_SECONDS = 0.12
# A phrase that goes on for longer is looked at in parts.
_LONGEST_SECONDS = 60.0
_HIGHEST_KEY = 127


@dataclass(frozen=True, slots=True)
class Note:
    """One note.

    Attributes:
        start_seconds, end_seconds: from and up to when it sounds.
        key: as in MIDI: 69 is A4, at the choir's tuning.
        f0_hz: median of its pitch, as it sounds.
    """

    start_seconds: float
    end_seconds: float
    key: int
    f0_hz: float


class NoteFinder:
    """Takes a pitch track, gives the notes of the phrases that have ended; holds one phrase.

    Args:
        hop_seconds: from one frame to the next.
        tuning: where the keys lie.
    """

    def __init__(self, hop_seconds: float, tuning: Tuning = CONCERT_TUNING) -> None:
        self._hop_seconds = hop_seconds
        self._tuning = tuning
        self._change_cost = _CHANGE_COST / hop_seconds
        self._gap_frames = int(_GAP_SECONDS / hop_seconds)
        self._shortest_frames = max(1, round(_SHORTEST_SECONDS / hop_seconds))
        self._longest_frames = int(_LONGEST_SECONDS / hop_seconds)
        self._num_frames = 0
        self._start = 0
        # Of the phrase, from `_start` on, in keys at 440 Hz; the last pitch in place of slips of the tracker.
        self._pitches: list[float] = []
        self._num_unvoiced = 0

    def push(self, f0_hz: NDArray[np.float32]) -> Iterator[Note]:
        """Takes the next frames, float32 (N,) in Hz, 0 where unvoiced."""
        for pitch in keys_of(f0_hz).tolist():
            if not math.isnan(pitch):
                if not self._pitches:
                    self._start = self._num_frames
                self._pitches += [self._pitches[-1]] * self._num_unvoiced if self._pitches else []
                self._pitches.append(pitch)
                self._num_unvoiced = 0
                if len(self._pitches) >= self._longest_frames:
                    yield from self._part()
            else:
                self._num_unvoiced += 1
                if self._num_unvoiced > self._gap_frames:
                    yield from self.finish()
            self._num_frames += 1

    def finish(self) -> Iterator[Note]:
        """The notes of the phrase that has not ended before the track did."""
        yield from map(self._note, self._stretches())
        self._pitches, self._num_unvoiced = [], 0

    def _part(self) -> Iterator[Note]:
        """The notes of a long phrase so far, but for the last, which may go on."""
        stretches = self._stretches()
        last_start = stretches[-1][0] if len(stretches) > 1 else self._num_frames + 1
        yield from (self._note(stretch) for stretch in stretches if stretch[0] < last_start)
        del self._pitches[: last_start - self._start]
        self._start = last_start

    def _stretches(self) -> list[tuple[int, int, int]]:
        """First frame, frame after the last, and key of each note of the phrase."""
        if not self._pitches:
            return []
        pitches = np.array(self._pitches)
        keys = _cheapest_keys(pitches - self._tuning.at(self._start, len(pitches)), self._change_cost)
        starts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist()]
        kept: list[tuple[int, int, int]] = []
        pending: int | None = None
        for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
            begins = start if pending is None else pending
            if end - start >= self._shortest_frames:
                kept.append((begins, end, int(keys[start])))
                pending = None
            else:
                pending = begins  # a scoop belongs to the note that it leads to
        if pending is not None and kept:
            start, _, key = kept[-1]
            kept[-1] = (start, len(keys), key)  # a fall at the end belongs to the note before
        return [(self._start + start, self._start + end, key) for start, end, key in kept]

    def _note(self, stretch: tuple[int, int, int]) -> Note:
        start, end, key = stretch
        f0_hz = hz_of(float(np.median(self._pitches[start - self._start : end - self._start])))
        return Note(start * self._hop_seconds, end * self._hop_seconds, key, f0_hz)


def _cheapest_keys(pitches: NDArray[np.float64], change_cost: float) -> NDArray[np.int64]:
    """The key of each frame, by dynamic programming over all keys in the range of the pitches."""
    lowest, highest = int(np.floor(pitches.min())), int(np.ceil(pitches.max()))
    keys = np.arange(max(lowest, 0), min(highest, _HIGHEST_KEY) + 1)
    costs = np.minimum(np.abs(pitches[:, None] - keys), _FARTHEST_SLIP)
    total = costs[0]
    came_from = np.zeros(costs.shape, np.int64)
    places = np.arange(len(keys))
    for frame in range(1, len(costs)):
        cheapest = int(total.argmin())
        is_change = total > total[cheapest] + change_cost
        came_from[frame] = np.where(is_change, cheapest, places)
        total = np.where(is_change, total[cheapest] + change_cost, total) + costs[frame]
    path = np.empty(len(costs), np.int64)
    path[-1] = total.argmin()
    for frame in range(len(costs) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return keys[path]
