"""Bars and key of a piece, from its notes and beats: which beats are downbeats, and which scale the notes keep to.

Downbeats are where long notes of the melody begin and where more voices move: each beat gets a weight of these, and
the comb of two, three or four beats that collects the most is the bar, as Goto and Muraoka (1999) did it on spectra.
The key is the one whose profile of pitch classes correlates best with how long each sounds (Krumhansl, 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from divisi.notation.beats import find_beats
from divisi.notation.notes import Note

Floats = NDArray[np.float64]

# Of four voices that begin a note at the same time, each counts so much.
_ONSET_WEIGHT = 0.5
# How near to a beat a note begins on it, in beats.
_ON_BEAT = 0.3
# What a beat is worth as a downbeat, from one to the other standard deviation: learned by logistic regression from
# chorales. Where the bass changes, or how long the other voices' notes are, adds nothing to these.
_WEIGHTS = {"voices": 0.41, "melody": 0.99}
# Four are usual, three less so, two seldom written.
_METERS = {4: 0.0, 3: -0.15, 2: -0.5}
# Of four beats the third is worth so much of the first.
_HALF_BAR = 0.6
# A piece begins on a downbeat or a beat before; longer pick-ups are rare.
_LONG_PICKUP = -0.5

# How often each step of the scale sounds, from the tonic on (Albrecht and Shanahan, 2013): they mistake a
# key for its dominant's less often than those of Krumhansl and Kessler (right signatures of 122 chorales: 82 and 72 %).
_MAJOR = np.array([0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081])
_MINOR = np.array([0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052])


@dataclass(frozen=True)
class Key:
    """Of the notes as they are written.

    Attributes:
        tonic: pitch class, 0 is C.
        is_minor: True in minor.
        sureness: correlation of the notes with the key's profile, -1 to 1.
    """

    tonic: int
    is_minor: bool
    sureness: float

    @property
    def fifths(self) -> int:
        """Sharps of the signature, flats below 0; of two that sound the same the one with fewer signs: -5 to 6."""
        major = (self.tonic + (3 if self.is_minor else 0)) % 12
        return (7 * major + 5) % 12 - 5

    @property
    def name(self) -> str:
        """As in "E flat major"."""
        sharps = self.fifths
        # The line of fifths from F on; minor keys lie three steps further.
        place = sharps + 1 + (3 if self.is_minor else 0)
        letter, signs = "FCGDAEB"[place % 7], place // 7
        sign = {-1: " flat", 0: "", 1: " sharp"}[signs]
        return f"{letter}{sign} {'minor' if self.is_minor else 'major'}"


@dataclass(frozen=True)
class Bars:
    """Attributes:
    beats: (beats,) seconds, rising.
    beats_a_bar: 2, 3 or 4.
    first_downbeat: which beat the first whole bar begins with; those before are a pick-up.
    key: None where nobody sings.
    """

    beats: Floats
    beats_a_bar: int
    first_downbeat: int
    key: Key | None

    def or_seconds(self, end_seconds: float) -> Bars:
        """The same, or where there are no beats a beat every second."""
        if len(self.beats) > 1:
            return self
        return replace(self, beats=np.arange(max(2.0, np.ceil(end_seconds))), beats_a_bar=4, first_downbeat=0)

    @property
    def downbeats(self) -> Floats:
        """Seconds at which bars begin."""
        return self.beats[self.first_downbeat :: self.beats_a_bar]

    def place_of(self, beat: int) -> tuple[int, int]:
        """Bar and beat, as singers count them, from 1; bar 0 is the pick-up, whose last beat is the bar's last."""
        bar, within = divmod(beat - self.first_downbeat, self.beats_a_bar)
        return bar + 1, within + 1

    @property
    def usual_tempo(self) -> float | None:
        """Beats a minute, the median; None without beats."""
        return 60 / float(np.median(np.diff(self.beats))) if len(self.beats) > 1 else None

    @property
    def beats_a_minute(self) -> Floats:
        """The tempo from each beat to the next, median of three; the last goes on. Shape: (beats,)."""
        if len(self.beats) < 2:
            return np.zeros(len(self.beats))
        lengths = np.diff(self.beats)
        padded = np.concatenate([lengths[:1], lengths, lengths[-1:]])
        smooth = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
        return 60 / np.append(smooth, smooth[-1])


NO_BARS = Bars(np.zeros(0), 4, 0, None)


def find_bars(voices: Sequence[Sequence[Note]]) -> Bars:
    """Bars of a piece.

    Args:
        voices: the notes of each in order of time, highest voice first.
    """
    notes = [note for voice in voices for note in voice]
    key = find_key(notes)
    onsets = np.array([note.start_seconds for note in notes])
    end_seconds = max((note.end_seconds for note in notes), default=0.0)
    beats = find_beats(onsets, np.full(len(notes), _ONSET_WEIGHT), end_seconds)
    beats_a_bar, first = find_downbeats(voices, beats)
    return Bars(beats, beats_a_bar, first, key)


def find_key(notes: Sequence[Note]) -> Key | None:
    """The key that fits best; None without notes."""
    sounding = np.zeros(12)
    for note in notes:
        sounding[note.key % 12] += note.end_seconds - note.start_seconds
    if not sounding.std() > 0:
        return None
    candidates = [
        Key(tonic, is_minor, float(np.corrcoef(np.roll(profile, tonic), sounding)[0, 1]))
        for is_minor, profile in ((False, _MAJOR), (True, _MINOR))
        for tonic in range(12)
    ]
    return max(candidates, key=lambda candidate: candidate.sureness)


def find_downbeats(voices: Sequence[Sequence[Note]], beats: Floats) -> tuple[int, int]:
    """How many beats a bar has, and which of the first ones is a downbeat."""
    if len(beats) < 4:
        return 4, 0
    worth = sum(_WEIGHTS[name] * column for name, column in features(voices, beats).items())
    scores = {}
    for meter, bonus in _METERS.items():
        for first in range(meter):
            comb = np.full(len(beats), -1.0)
            comb[first::meter] = meter - 1.0
            if meter == 4:
                comb[(first + 2) % 4 :: 4] += _HALF_BAR
            comb -= comb.mean()
            collected = float((worth * comb).sum() / np.sqrt((comb**2).sum() * len(beats)))
            scores[meter, first] = collected + bonus + (_LONG_PICKUP if first > 1 else 0.0)
    return max(scores, key=lambda place: scores[place])


def features(voices: Sequence[Sequence[Note]], beats: Floats) -> dict[str, Floats]:
    """What speaks for each beat being a downbeat, of mean 0 and deviation 1. Shape: (beats,) each."""
    count = len(beats)
    sung = [voice for voice in voices if voice]
    starts, longs = np.zeros((len(sung), count)), np.zeros((len(sung), count))
    bounds = np.append(beats, 2 * beats[-1] - beats[-2])
    for place, voice in enumerate(sung):
        for note in voice:
            first, last = np.interp([note.start_seconds, note.end_seconds], bounds, np.arange(count + 1))
            beat = round(first)
            if beat < count and abs(first - beat) < _ON_BEAT:
                starts[place, beat] = 1
                longs[place, beat] = min(last - first, 4.0)
    columns = {"voices": starts.mean(axis=0), "melody": longs[0]}
    return {name: (column - column.mean()) / (column.std() + 1e-9) for name, column in columns.items()}
