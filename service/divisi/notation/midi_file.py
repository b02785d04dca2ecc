"""Notes as a Standard MIDI File: one track for each voice, with tempo, bars and key as they were found.

Each beat of the recording is a beat of the file, with a tempo of its own: notes sound when they were sung, and a score
editor sees them in bars. What is before the first beat is a bar of its own. Where no beats were found, 960 ticks are a
second. Notes are the nearest keys at the choir's tuning, without pitch bend, so that a score editor can read them. The
tuning is that of the channels (registered parameter 1, channel fine tuning, of General MIDI): players sound as the
choir did, score editors pass over it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
from mido import Message, MetaMessage, MidiFile

from divisi.notation.bars import Bars, Key
from divisi.notation.notes import Note

_TICKS_PER_BEAT = 480
_BEAT_MICROSECONDS = 500_000
# A beat may not be longer in the file's 24 bits.
_LONGEST_MICROSECONDS = (1 << 24) - 1
# A pitch track does not say how loud a note is.
_VELOCITY = 80
_CHOIR_AAHS = 52
# Of 14 bits, the middle.
_UNTUNED = 1 << 13
# All 16 channels but the tenth, which is drums.
_CHANNELS = [channel for channel in range(16) if channel != 9]

Timed = tuple[int, Message | MetaMessage]
"""A message and its tick from the beginning."""


def write_midi(path: Path, notes: Mapping[str, Sequence[Note]], cents: float, bars: Bars) -> None:
    """Writes a file of type 1.

    Args:
        path: file to create or replace.
        notes: of each voice, by its name, in order of time; the tracks come in this order.
        cents: what the keys sound above 440 Hz, within 100.
        bars: of the piece.
    """
    file = MidiFile(type=1, ticks_per_beat=_TICKS_PER_BEAT)
    clock = _Clock(bars)
    for number, (voice, sung) in enumerate(notes.items()):
        channel = _CHANNELS[number % len(_CHANNELS)]
        timed: Iterator[Timed] = _sung(sung, channel, clock)
        if number == 0:
            timed = heapq.merge(_conducted(bars, clock), timed, key=itemgetter(0))
        # Messages are made while the track is written: ten thousands of them would take more room than the notes.
        file.tracks.append(_track(voice, channel, cents, timed))
    file.save(path)


class _Clock:
    """From seconds to ticks, along the beats."""

    def __init__(self, bars: Bars) -> None:
        later = bars.beats[bars.beats > 0] if len(bars.beats) > 1 else np.zeros(0)
        usual = float(np.median(np.diff(bars.beats))) if len(later) else _BEAT_MICROSECONDS / 1e6
        is_led_in = len(later) == len(bars.beats) and len(later) > 0
        self.num_before = max(1, round(later[0] / usual)) if is_led_in else 0
        first = self.num_before if is_led_in else 1
        self._seconds = np.concatenate([[0.0], later])
        self._ticks = np.concatenate([[0], (first + np.arange(len(later))) * _TICKS_PER_BEAT])
        if len(later):
            last = self._seconds[-1] - self._seconds[-2], self._ticks[-1] - self._ticks[-2]
            self._rate = float(last[1] / last[0])
        else:
            self._rate = _TICKS_PER_BEAT / usual

    def tick_at(self, seconds: float) -> int:
        """The nearest."""
        beyond = max(seconds - float(self._seconds[-1]), 0.0)
        return round(float(np.interp(seconds, self._seconds, self._ticks)) + beyond * self._rate)

    def tempos(self) -> Iterator[tuple[int, int]]:
        """From which tick on a beat lasts how many microseconds."""
        if len(self._seconds) == 1:
            yield 0, _BEAT_MICROSECONDS
        lengths = np.diff(self._seconds) / (np.diff(self._ticks) / _TICKS_PER_BEAT)
        for tick, length in zip(self._ticks.tolist(), lengths.tolist(), strict=False):
            yield int(tick), min(round(1e6 * length), _LONGEST_MICROSECONDS)


def _conducted(bars: Bars, clock: _Clock) -> Iterator[Timed]:
    """Key, bars and tempo."""
    tempos = [(tick, MetaMessage("set_tempo", tempo=tempo)) for tick, tempo in clock.tempos()]
    signs: list[Timed] = []
    if bars.key:
        signs.append((0, MetaMessage("key_signature", key=_signature(bars.key))))
    now = 0
    if len(bars.beats) > 1:
        for num_beats in (clock.num_before, bars.first_downbeat):
            if num_beats:
                signs.append((now, MetaMessage("time_signature", numerator=min(num_beats, 255), denominator=4)))
                now += num_beats * _TICKS_PER_BEAT
        signs.append((now, MetaMessage("time_signature", numerator=bars.beats_a_bar, denominator=4)))
    return heapq.merge(signs, tempos, key=itemgetter(0))


def _signature(key: Key) -> str:
    """As in "Ebm"."""
    letter, _, rest = key.name.partition(" ")
    return letter + ("b" if "flat" in rest else "#" if "sharp" in rest else "") + ("m" if key.is_minor else "")


def _sung(notes: Sequence[Note], channel: int, clock: _Clock) -> Iterator[Timed]:
    for note in notes:
        start = clock.tick_at(note.start_seconds)
        yield start, Message("note_on", channel=channel, note=note.key, velocity=_VELOCITY)
        yield clock.tick_at(note.end_seconds), Message("note_off", channel=channel, note=note.key, velocity=0)


def _track(voice: str, channel: int, cents: float, timed: Iterator[Timed]) -> Iterator[Message | MetaMessage]:
    yield MetaMessage("track_name", name=voice)
    yield Message("program_change", channel=channel, program=_CHOIR_AAHS)
    for control, value in _fine_tuning(cents):
        yield Message("control_change", channel=channel, control=control, value=value)
    now = 0
    for tick, message in timed:
        yield message.copy(time=tick - now)
        now = tick


def _fine_tuning(cents: float) -> list[tuple[int, int]]:
    """Controllers and their values: choose parameter 1, set it in steps of 100/8192 cents, choose none again."""
    coarse, fine = divmod(min(round(_UNTUNED * (1 + cents / 100)), 2 * _UNTUNED - 1), 128)
    return [(101, 0), (100, 1), (6, coarse), (38, fine), (101, 127), (100, 127)]
