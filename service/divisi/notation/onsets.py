"""When notes begin as the ear hears it: where the voice opens after a consonant, not where the pitch track says so.

A pitch track glides from note to note and does not see that a note is sung again. The level of the stem does: it dips
between syllables and rises as the vowel opens. So each note begins at the nearest such rise, and a dip within a note
parts it in two. A note that follows another without any dip is slurred, and begins where the pitch changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from divisi.notation.notes import Note

# Of the level: short enough for the dip of a consonant, long enough for a period of the lowest bass.
_HOP_SECONDS = 0.008
# Weights of a step and its neighbours.
_SMOOTHING = np.array([0.1, 0.25, 0.3, 0.25, 0.1])
# Below the loudest step all is silence.
_SILENCE_DB = -80.0
# How far a rise may be from the pitch's own change, seconds.
_REACH_SECONDS = 0.12
# A consonant is shorter than this, so the vowels on both of its sides are met within it.
_SIDE_SECONDS = 0.2
# A dip so deep parts a note; one less deep, where the pitch changes as well, says when. Vibrato and swells are less.
_PARTING_DB, _TIMING_DB = 12.0, 6.0
# The vowel has opened where it is so near to its level.
_OPEN_DB = 10.0
# Of the parts of a note.
_SHORTEST_SECONDS = 0.1


class LevelMeter:
    """Takes stems, gives their power in steps of about 8 ms; holds less than a step.

    Args:
        num_voices: S.
        sample_rate: Hz.
    """

    def __init__(self, num_voices: int, sample_rate: int) -> None:
        self._hop_length = max(1, round(_HOP_SECONDS * sample_rate))
        self._rest = np.zeros((num_voices, 0), np.float32)
        self.hop_seconds = self._hop_length / sample_rate

    def push(self, stems: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes float32 (S, C, n); gives the mean square of the steps that are complete, float32 (S, N)."""
        power = np.concatenate([self._rest, np.square(stems).mean(axis=1)], axis=1)
        num_steps = power.shape[1] // self._hop_length
        whole = power[:, : num_steps * self._hop_length].reshape(len(power), num_steps, self._hop_length)
        self._rest = power[:, num_steps * self._hop_length :]
        return whole.mean(axis=2)


def articulated(notes: Sequence[Note], power: NDArray[np.float32], hop_seconds: float) -> list[Note]:
    """The notes as they are sung, repeated ones apart.

    Args:
        notes: of one voice, in order of time.
        power: float32 (N,), of its stem, as `LevelMeter` gives it.
        hop_seconds: from one step to the next.
    """
    if len(power) < 2 * len(_SMOOTHING) or not power.max() > 0:
        return list(notes)
    level = _Level(power, hop_seconds)
    sung: list[Note] = []
    for note in notes:
        follows = bool(sung) and note.start_seconds - sung[-1].end_seconds < hop_seconds
        start = level.opening_near(note.start_seconds, is_certain=not follows)
        if follows:
            start = max(start, sung[-1].start_seconds + hop_seconds)
            sung[-1] = replace(sung[-1], end_seconds=start)
        elif sung:
            start = max(start, sung[-1].end_seconds)
        if start >= note.end_seconds:
            continue
        starts = [start, *level.openings_within(start, note.end_seconds)]
        ends = [*starts[1:], note.end_seconds]
        sung += [replace(note, start_seconds=a, end_seconds=b) for a, b in zip(starts, ends, strict=True)]
    return sung


class _Level:
    """The level of one voice, in dB, and the dips in it."""

    def __init__(self, power: NDArray[np.float32], hop_seconds: float) -> None:
        smooth = np.convolve(power.astype(np.float64), _SMOOTHING, mode="same")
        self._level = np.maximum(10 * np.log10(smooth / smooth.max() + 10 ** (_SILENCE_DB / 10)), _SILENCE_DB)
        self._hop = hop_seconds
        self._side = math.ceil(_SIDE_SECONDS / hop_seconds)

    def opening_near(self, moment: float, *, is_certain: bool) -> float:
        """Where the vowel opens around a moment; the moment itself where there is no dip, unless one is certain."""
        reach = math.ceil(_REACH_SECONDS / self._hop)
        centre = int(moment / self._hop)
        first = max(0, centre - reach)
        around = self._level[first : centre + reach]
        if not len(around):
            return moment
        lowest = first + int(around.argmin())
        if is_certain or self._depth(lowest) >= _TIMING_DB:
            return self._opening_after(lowest)
        return moment

    def openings_within(self, start: float, end: float) -> list[float]:
        """Where vowels open again after the dips inside a note."""
        found: list[float] = []
        place, last = math.ceil((start + _SHORTEST_SECONDS) / self._hop), int((end - _SHORTEST_SECONDS) / self._hop)
        while place < min(last, len(self._level)):
            if self._level[place] <= self._level[max(0, place - 3) : place + 4].min() and (
                self._depth(place) >= _PARTING_DB
            ):
                opening = self._opening_after(place)
                if opening - (found or [start])[-1] >= _SHORTEST_SECONDS and end - opening >= _SHORTEST_SECONDS / 2:
                    found.append(opening)
                place = max(place, int(opening / self._hop))
            place += 1
        return found

    def _depth(self, place: int) -> float:
        """How far the level lies below both of its sides."""
        before = self._level[max(0, place - self._side) : place + 1].max()
        after = self._level[place : place + self._side].max()
        return float(min(before, after) - self._level[place])

    def _opening_after(self, lowest: int) -> float:
        """From a lowest step on, the first that is near enough to the level that follows; at least half way up."""
        after = self._level[lowest : lowest + self._side]
        target = max(after.max() - _OPEN_DB, (after[0] + after.max()) / 2)
        return (lowest + int(np.argmax(after >= target)) + 0.5) * self._hop
