"""Notes as a Standard MIDI File: one track for each voice, in seconds rather than bars.

The tempo is fixed, since a recording's is not known: 960 ticks are a second. Notes are the nearest keys at the choir's
tuning, without pitch bend, so that a score editor can read them. The tuning is that of the channels (registered
parameter 1, channel fine tuning, of General MIDI): players sound as the choir did, score editors pass over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mido import Message, MetaMessage, MidiFile

from divisi.notation.notes import Note

_TICKS_PER_BEAT = 480
_BEAT_MICROSECONDS = 500_000
_TICKS_PER_SECOND = _TICKS_PER_BEAT * 1_000_000 // _BEAT_MICROSECONDS
# A pitch track does not tell how loud a note is.
_VELOCITY = 80
_CHOIR_AAHS = 52
# Of 14 bits, the middle.
_UNTUNED = 1 << 13
# All 16 channels but the tenth, which is drums.
_CHANNELS = [channel for channel in range(16) if channel != 9]


def write_midi(path: Path, notes: Mapping[str, Sequence[Note]], hop_seconds: float, cents: float) -> None:
    """Writes a file of type 1.

    Args:
        path: file to create or replace.
        notes: of each voice, by its name, in order of time; the tracks come in this order.
        hop_seconds: from one frame to the next.
        cents: what the keys sound above 440 Hz, within 100.
    """
    file = MidiFile(type=1, ticks_per_beat=_TICKS_PER_BEAT)
    for number, (voice, sung) in enumerate(notes.items()):
        # Messages are made while the track is written: ten thousands of them would take more room than the notes.
        file.tracks.append(_track(number, voice, sung, hop_seconds, cents))
    file.save(path)


def _track(
    number: int, voice: str, notes: Sequence[Note], hop_seconds: float, cents: float
) -> Iterator[Message | MetaMessage]:
    channel = _CHANNELS[number % len(_CHANNELS)]
    yield MetaMessage("track_name", name=voice)
    if number == 0:
        yield MetaMessage("set_tempo", tempo=_BEAT_MICROSECONDS)
    yield Message("program_change", channel=channel, program=_CHOIR_AAHS)
    for control, value in _fine_tuning(cents):
        yield Message("control_change", channel=channel, control=control, value=value)
    now = 0
    for note in notes:
        start, end = (round(frame * hop_seconds * _TICKS_PER_SECOND) for frame in (note.start, note.end))
        yield Message("note_on", channel=channel, note=note.key, velocity=_VELOCITY, time=start - now)
        yield Message("note_off", channel=channel, note=note.key, velocity=0, time=end - start)
        now = end


def _fine_tuning(cents: float) -> list[tuple[int, int]]:
    """Controllers and their values: choose parameter 1, set it in steps of 100/8192 cents, choose none again."""
    coarse, fine = divmod(min(round(_UNTUNED * (1 + cents / 100)), 2 * _UNTUNED - 1), 128)
    return [(101, 0), (100, 1), (6, coarse), (38, fine), (101, 127), (100, 127)]
