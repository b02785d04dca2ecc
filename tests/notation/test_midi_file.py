from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from mido import MidiFile

from divisi.notation.bars import NO_BARS, Bars, Key
from divisi.notation.midi_file import write_midi
from divisi.notation.notes import Note

HOP_SECONDS = 0.032


def note(start: int, end: int, key: int, f0_hz: float) -> Note:
    """From and up to a frame."""
    return Note(start * HOP_SECONDS, end * HOP_SECONDS, key, f0_hz)


def frequencies_of(path: Path) -> list[float]:
    """What a player that honours General MIDI's fine tuning sounds, note by note, in Hz."""
    chosen, tuning = [127, 127], [64, 0]
    heard = []
    for message in MidiFile(path).tracks[0]:
        if message.type == "control_change" and message.control in (101, 100):
            chosen[101 - message.control] = message.value
        elif message.type == "control_change" and chosen == [0, 1]:
            tuning[{6: 0, 38: 1}[message.control]] = message.value
        elif message.type == "note_on":
            cents = ((tuning[0] << 7 | tuning[1]) - 8192) * 100 / 8192
            heard.append(440 * 2 ** ((message.note - 69 + cents / 100) / 12))
    assert chosen == [127, 127], "a controller sent later would change the tuning"
    return heard


def notes_of(path: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Of each track by its name: key, start and end in seconds, as a player hears them."""
    file = MidiFile(path)
    assert (file.type, file.ticks_per_beat) == (1, 480)
    tempos = {}
    for track in file.tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "set_tempo":
                tempos[now] = message.tempo
    ticks = sorted(tempos)
    assert ticks[0] == 0

    def seconds_at(tick: int) -> float:
        ends = [*ticks[1:], tick]
        spans = [(min(end, tick) - start, tempos[start]) for start, end in zip(ticks, ends, strict=True)]
        return sum(span * tempo for span, tempo in spans if span > 0) / 480e6

    heard = {}
    for track in file.tracks:
        now, began, notes = 0, {}, []
        for message in track:
            now += message.time
            if message.type == "note_on":
                began[message.note] = now
            elif message.type == "note_off":
                notes.append((message.note, seconds_at(began.pop(message.note)), seconds_at(now)))
        assert began == {}
        heard[track.name] = notes
    return heard


def test_each_voice_has_a_track_with_its_name_and_notes(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    alto = [note(10, 20, 69, 440.0), note(20, 25, 67, 392.0)]
    write_midi(path, {"soprano": [note(0, 50, 76, 660.0)], "alto": alto, "bass": []}, 0.0, NO_BARS)
    assert notes_of(path) == {
        "soprano": [(76, 0.0, 1.6)],
        "alto": [(69, 307 / 960, 614 / 960), (67, 614 / 960, 768 / 960)],
        "bass": [],
    }


def test_times_do_not_drift_over_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    notes = [note(start, start + 7, 60, 261.6) for start in range(0, 112_500, 9)]
    write_midi(path, {"tenor": notes}, 0.0, NO_BARS)
    written = notes_of(path)["tenor"]
    assert len(written) == 12_500
    assert abs(written[-1][1] - notes[-1].start_seconds) <= 0.5 / 960


def test_every_voice_has_a_channel_and_none_is_the_drums(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    write_midi(path, {f"voice-{n}": [note(0, 9, 60, 261.6)] for n in range(17)}, 0.0, NO_BARS)
    channels = [{m.channel for m in track if m.type == "note_on"} for track in MidiFile(path).tracks]
    assert all(len(channel) == 1 for channel in channels)
    assert {9} not in channels
    assert len(set.union(*channels)) == 15


def test_the_same_notes_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_midi(tmp_path / name, {"alto": [note(0, 9, 60, 261.6)]}, 0.0, NO_BARS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("cents", [-49.0, -14.37, 0.0, 31.77, 50.0, 51.0])
def test_a_player_sounds_at_the_choir_s_tuning(tmp_path: Path, cents: float) -> None:
    path = tmp_path / "notes.mid"
    write_midi(path, {"alto": [note(0, 9, 69, 440.0), note(9, 18, 57, 220.0)]}, cents, NO_BARS)
    a4_hz = 440 * 2 ** (cents / 1200)
    # The parameter goes in steps of a hundredth of a cent.
    assert frequencies_of(path) == pytest.approx([a4_hz, a4_hz / 2], rel=1e-5)


@pytest.mark.parametrize("first_seconds", [0.0, 0.37, 2.9])
def test_notes_sound_when_they_were_sung_though_they_stand_in_bars(tmp_path: Path, first_seconds: float) -> None:
    """Beats of 0.6 to 0.9 s, a pick-up of one."""
    beats = first_seconds + np.concatenate([[0], np.cumsum(np.linspace(0.6, 0.9, 20))])
    sung = [Note(float(start), float(end), 60, 261.6) for start, end in itertools.pairwise(beats)]
    sung.append(Note(float(beats[-1] + 1.5), float(beats[-1] + 2), 62, 293.7))
    path = tmp_path / "notes.mid"
    write_midi(path, {"alto": sung}, 0.0, Bars(beats, 4, 1, Key(10, True, 1.0)))
    played = notes_of(path)["alto"]
    np.testing.assert_allclose(
        [(start, end) for _, start, end in played],
        [(note.start_seconds, note.end_seconds) for note in sung],
        atol=0.002,  # a tick, and tempos in whole microseconds
    )
    messages, now = [], 0
    for message in MidiFile(path).tracks[0]:
        now += message.time
        messages.append((now, message))
    signatures = [(tick, m.numerator) for tick, m in messages if m.type == "time_signature"]
    first_note = next(tick for tick, m in messages if m.type == "note_on")
    assert signatures[-2:] == [(first_note, 1), (first_note + 480, 4)]
    assert first_note % 480 == 0
    assert [m.key for _, m in messages if m.type == "key_signature"] == ["Bbm"]
