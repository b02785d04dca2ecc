"""The tuning that a choir really sings at: one for all voices, so that a chord a quarter tone off stays that chord.

Each pitch lies some part of a semitone above the nearest key at 440 Hz, its residue. Residues are angles (a semitone is
a turn), and their mean is that of unit vectors, weighted by how sure the model is of each pitch. Vibrato as wide as a
third of a tone would turn that mean around, so it is taken of medians over half a second. Choirs drift: over the
seconds, the tuning is the path that agrees best with the residues and moves least (by dynamic programming).
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_A4_HZ, _A4_KEY = 440.0, 69
# What MIDI has keys for; no voice comes near either end.
_LOWEST_HZ, _HIGHEST_HZ = 8.2, 12_500.0
# Of the medians, to either side: vibrato swings about twice in both together.
_REACH_SECONDS = 0.25
# From one point of the path to the next.
_STEP_SECONDS = 4.0
# The path's grid, and how far it may lead, in semitones: choirs sink by a tone in bad cases.
_GRID, _FARTHEST = 0.05, 3.0
# A move of one semitone in a second costs what as many seconds of singing by one voice are worth. So four voices are
# followed over a semitone in half a minute, and not into two seconds that the tracker got wrong.
_MOVE_COST = 200.0
# Semitones: a quarter tone off by either side of rounding is sharp, 452.9 Hz, not flat.
_SHARPEST = 0.51


def keys_of(f0_hz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pitches as fractional keys at 440 Hz (69 is A4); NaN where there is none."""
    is_voiced = (f0_hz > _LOWEST_HZ) & (f0_hz < _HIGHEST_HZ)
    ratios = np.where(is_voiced, f0_hz, _A4_HZ).astype(np.float64) / _A4_HZ
    return np.where(is_voiced, _A4_KEY + 12 * np.log2(ratios), np.nan)


def hz_of(key: float) -> float:
    """The frequency of a fractional key at 440 Hz."""
    return float(_A4_HZ * 2 ** ((key - _A4_KEY) / 12))


@dataclass(frozen=True)
class Tuning:
    """Where the keys lie.

    Attributes:
        cents: above 440 Hz, over the whole recording; from -49 to 51.
        offsets: float64 (steps,), semitones above 440 Hz at the middle of each step.
        step_frames: frames of one step.
    """

    cents: float
    offsets: NDArray[np.float64]
    step_frames: int

    @property
    def a4_hz(self) -> float:
        """What A4 sounds at."""
        return hz_of(_A4_KEY + self.cents / 100)

    def at(self, first: int, num_frames: int) -> NDArray[np.float64]:
        """Semitones above 440 Hz at each of some frames, float64 (num_frames,)."""
        middles = (np.arange(len(self.offsets)) + 0.5) * self.step_frames
        return np.interp(np.arange(first, first + num_frames), middles, self.offsets)


CONCERT_TUNING = Tuning(0.0, np.zeros(1), 1)


class TuningMeter:
    """Takes the pitch tracks of all voices; holds some seconds of them, and one number for each step before.

    Args:
        num_voices: S.
        hop_seconds: from one frame to the next.
    """

    def __init__(self, num_voices: int, hop_seconds: float) -> None:
        self._reach = max(1, round(_REACH_SECONDS / hop_seconds))
        self._step_frames = max(1, round(_STEP_SECONDS / hop_seconds))
        self._hop_seconds = hop_seconds
        # Frames that wait for those around them; before the first there is silence.
        self._keys = np.full((num_voices, self._reach), np.nan)
        self._weights = np.zeros((num_voices, self._reach))
        self._residues = array("d")  # real and imaginary parts in turn: a list of numbers takes three times as much

    def push(self, f0_hz: NDArray[np.float32], voicing: NDArray[np.float32] | None = None) -> None:
        """Takes float32 (S, N) each: Hz, 0 where unvoiced, and 0..1 where the model says how sure it is."""
        weights = np.ones(f0_hz.shape) if voicing is None else np.nan_to_num(voicing.astype(np.float64))
        self._keys = np.concatenate([self._keys, keys_of(f0_hz)], axis=1)
        self._weights = np.concatenate([self._weights, weights], axis=1)
        # Steps are the same however the tracks are cut, to the last bit.
        while self._keys.shape[1] >= self._step_frames + 2 * self._reach:
            self._take_step()

    def finish(self) -> Tuning:
        """The tuning of all that was taken; 440 Hz where nobody sang."""
        self.push(np.zeros((len(self._keys), self._reach + self._step_frames), np.float32))
        residues = np.frombuffer(self._residues, np.complex128)
        weights = np.abs(residues)
        if not weights.sum() > 0:
            return CONCERT_TUNING
        # Residues count frames of singing, not seconds.
        path = _steadiest_path(residues, _MOVE_COST / (self._step_frames * self._hop_seconds**2))
        # The grid is coarse; what all residues still differ by is not.
        path += np.angle((residues * np.exp(-2j * np.pi * path)).sum()) / (2 * np.pi)
        mean = float(np.average(path, weights=weights))
        within = mean - math.ceil(mean - _SHARPEST)
        return Tuning(100 * within, path + (within - mean), self._step_frames)

    def _take_step(self) -> None:
        """Adds up the residues of one step, as a vector: the longer, the surer."""
        span = self._step_frames + 2 * self._reach
        windows = np.lib.stride_tricks.sliding_window_view(self._keys[:, :span], 2 * self._reach + 1, axis=1)
        middle = slice(self._reach, self._reach + self._step_frames)
        is_sung = ~np.isnan(self._keys[:, middle])
        num_sung = (~np.isnan(windows)).sum(axis=2)
        # Sorted, silence comes last. Of an even number the lower: never a pitch between two notes.
        places = np.maximum(num_sung - 1, 0) // 2
        medians = np.take_along_axis(np.sort(windows, axis=2), places[:, :, None], axis=2)[:, :, 0]
        weights = self._weights[:, middle] * num_sung / windows.shape[2]
        residue = complex((weights * np.exp(2j * np.pi * medians))[is_sung].sum())
        self._residues.extend((residue.real, residue.imag))
        self._keys = self._keys[:, self._step_frames :]
        self._weights = self._weights[:, self._step_frames :]


def _steadiest_path(residues: NDArray[np.complex128], move_cost: float) -> NDArray[np.float64]:
    """Offsets of the steps in semitones, starting within half a semitone of 440 Hz.

    Args:
        residues: complex (steps,), their lengths in frames of singing by one voice.
        move_cost: of a semitone from one step to the next, in the same frames.
    """
    count = round(_FARTHEST / _GRID)
    grid = np.linspace(-_FARTHEST, _FARTHEST, 2 * count + 1)
    turns = np.exp(-2j * np.pi * grid)
    moving = move_cost * (grid[:, None] - grid) ** 2
    total = np.where(np.abs(grid) <= 0.5, (residues[0] * turns).real, -np.inf)
    came_from = np.zeros((len(residues), len(grid)), np.int8)
    for step in range(1, len(residues)):
        choices = total - moving
        came_from[step] = choices.argmax(axis=1)
        total = choices.max(axis=1) + (residues[step] * turns).real
    path = np.empty(len(residues), np.int64)
    path[-1] = total.argmax()
    for step in range(len(residues) - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return grid[path]
