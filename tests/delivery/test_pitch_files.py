from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mido import MidiFile

from divisi.delivery.notes import Note
from divisi.delivery.pitch_files import PitchFiles, write_midi

HOP_SECONDS = 0.032
STEMS = ("soprano", "alto")


def write(folder: Path, f0_hz: np.ndarray, voicing: np.ndarray | None = None, block: int = 11) -> dict:
    with PitchFiles(folder, STEMS, HOP_SECONDS, has_voicing=voicing is not None) as files:
        for start in range(0, f0_hz.shape[1], block):
            part = slice(start, start + block)
            files.write(f0_hz[:, part], None if voicing is None else voicing[:, part])
        paths = files.finish()
    assert [path.name for path in paths] == ["pitch.csv", "pitch.json", "notes.mid"]
    return json.loads((folder / "pitch.json").read_text())


@pytest.fixture
def tracks() -> np.ndarray:
    """A second of A4 and a silence; a silence and a second of C4."""
    f0_hz = np.zeros((2, 63), np.float32)
    f0_hz[0, :31], f0_hz[1, 32:] = 440, 261.63
    return f0_hz


def test_json_has_a_track_and_the_notes_of_each_voice(tmp_path: Path, tracks: np.ndarray) -> None:
    content = write(tmp_path, tracks)
    assert (content["hop_seconds"], content["num_frames"]) == (HOP_SECONDS, 63)
    assert list(content["voices"]) == list(STEMS)
    soprano, alto = content["voices"].values()
    assert soprano["f0_hz"] == [440] * 31 + [0] * 32
    assert alto["f0_hz"] == [0] * 32 + [261.63] * 31
    assert "voicing" not in soprano
    (note,) = soprano["notes"]
    assert note == {"start_seconds": 0, "end_seconds": 0.992, "midi": 69, "f0_hz": 440}
    assert [(note["start_seconds"], note["end_seconds"], note["midi"]) for note in alto["notes"]] == [
        (1.024, 2.016, 60)
    ]


def test_json_has_the_voicing_of_models_that_give_one(tmp_path: Path, tracks: np.ndarray) -> None:
    voicing = np.linspace(0, 1, 126, dtype=np.float32).reshape(2, 63)
    content = write(tmp_path, tracks, voicing)
    for place, stem in enumerate(STEMS):
        np.testing.assert_allclose(content["voices"][stem]["voicing"], voicing[place], atol=1e-4)
        np.testing.assert_allclose(content["voices"][stem]["f0_hz"], tracks[place], atol=0.01)


def test_the_table_has_a_row_for_each_frame_and_leaves_silence_empty(tmp_path: Path, tracks: np.ndarray) -> None:
    write(tmp_path, tracks)
    with (tmp_path / "pitch.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["seconds", *STEMS]
    assert len(rows) == 63
    assert rows[0] == ["0.000", "440.00", ""]
    assert rows[31] == ["0.992", "", ""]
    assert rows[32] == ["1.024", "", "261.63"]


def test_the_notes_are_those_of_the_midi_file(tmp_path: Path, tracks: np.ndarray) -> None:
    write(tmp_path, tracks)
    file = MidiFile(tmp_path / "notes.mid")
    assert [track.name for track in file.tracks] == list(STEMS)
    assert [[m.note for m in track if m.type == "note_on"] for track in file.tracks] == [[69], [60]]


def test_all_three_files_agree_on_a_choir_a_quarter_tone_sharp(tmp_path: Path) -> None:
    """One voice a little above the quarter tone, one below: rounded alone, the third between them would be a fourth."""
    f0_hz = np.stack([np.full(200, 440 * 2 ** (54 / 1200)), np.full(200, 440 * 2 ** ((-400 + 46) / 1200))])
    content = write(tmp_path, f0_hz.astype(np.float32))
    assert content["tuning"]["cents"] == pytest.approx(50, abs=0.2)
    assert content["tuning"]["a4_hz"] == pytest.approx(452.89, abs=0.1)
    assert [[note["midi"] for note in voice["notes"]] for voice in content["voices"].values()] == [[69], [65]]
    assert content["voices"]["soprano"]["notes"][0]["f0_hz"] == pytest.approx(453.94, abs=0.01)
    tracks = MidiFile(tmp_path / "notes.mid").tracks
    assert [[m.note for m in track if m.type == "note_on"] for track in tracks] == [[69], [65]]
    for track in tracks:
        sent = {m.control: m.value for m in reversed(track) if m.type == "control_change"}
        assert (sent[6] << 7 | sent[38]) == pytest.approx(8192 * 1.5, abs=20)
    assert (tmp_path / "pitch.csv").read_text().splitlines()[1] == "0.000,453.94,358.63"


def test_a_recording_in_which_nobody_sings_is_at_440_hz(tmp_path: Path) -> None:
    content = write(tmp_path, np.zeros((2, 90), np.float32))
    assert content["tuning"] == {"a4_hz": 440.0, "cents": 0.0}
    assert [voice["notes"] for voice in content["voices"].values()] == [[], []]


def test_how_the_tracks_are_cut_changes_no_byte(tmp_path: Path, tracks: np.ndarray) -> None:
    for name, block in (("1", 1), ("2", 63)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, tracks, block=block)
    for name in ("pitch.csv", "pitch.json", "notes.mid"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_recording_without_a_frame_has_files_all_the_same(tmp_path: Path) -> None:
    content = write(tmp_path, np.zeros((2, 0), np.float32))
    assert content["num_frames"] == 0
    assert content["voices"]["alto"] == {"f0_hz": [], "notes": []}


def test_nothing_but_the_three_files_is_left(tmp_path: Path, tracks: np.ndarray) -> None:
    write(tmp_path, tracks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.mid", "pitch.csv", "pitch.json"]


def test_memory_does_not_grow_with_the_tracks(tmp_path: Path) -> None:
    # One long note: notes themselves are held, some hundred bytes each.
    block = np.full((2, 500), 220, np.float32)

    def peak_bytes(num_blocks: int) -> int:
        tracemalloc.start()
        with PitchFiles(tmp_path, STEMS, HOP_SECONDS, has_voicing=False) as files:
            for _ in range(num_blocks):
                files.write(block, None)
            files.finish()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(10)  # what is allocated once and kept
    assert peak_bytes(80) < 1.1 * peak_bytes(20)


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
    tempos = [message.tempo for track in file.tracks for message in track if message.type == "set_tempo"]
    assert tempos == [500_000]
    heard = {}
    for track in file.tracks:
        now, began, notes = 0, {}, []
        for message in track:
            now += message.time
            if message.type == "note_on":
                began[message.note] = now
            elif message.type == "note_off":
                notes.append((message.note, began.pop(message.note) / 960, now / 960))
        assert began == {}
        heard[track.name] = notes
    return heard


def test_each_voice_has_a_track_with_its_name_and_notes(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    alto = [Note(10, 20, 69, 440.0), Note(20, 25, 67, 392.0)]
    write_midi(path, {"soprano": [Note(0, 50, 76, 660.0)], "alto": alto, "bass": []}, HOP_SECONDS, 0.0)
    assert notes_of(path) == {
        "soprano": [(76, 0.0, 1.6)],
        "alto": [(69, 307 / 960, 614 / 960), (67, 614 / 960, 768 / 960)],
        "bass": [],
    }


def test_times_do_not_drift_over_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    notes = [Note(start, start + 7, 60, 261.6) for start in range(0, 112_500, 9)]
    write_midi(path, {"tenor": notes}, HOP_SECONDS, 0.0)
    written = notes_of(path)["tenor"]
    assert len(written) == 12_500
    assert abs(written[-1][1] - notes[-1].start * HOP_SECONDS) <= 0.5 / 960


def test_every_voice_has_a_channel_and_none_is_the_drums(tmp_path: Path) -> None:
    path = tmp_path / "notes.mid"
    write_midi(path, {f"voice-{n}": [Note(0, 9, 60, 261.6)] for n in range(17)}, HOP_SECONDS, 0.0)
    channels = [{m.channel for m in track if m.type == "note_on"} for track in MidiFile(path).tracks]
    assert all(len(channel) == 1 for channel in channels)
    assert {9} not in channels
    assert len(set.union(*channels)) == 15


def test_the_same_notes_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_midi(tmp_path / name, {"alto": [Note(0, 9, 60, 261.6)]}, HOP_SECONDS, 0.0)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("cents", [-49.0, -14.37, 0.0, 31.77, 50.0, 51.0])
def test_a_player_sounds_at_the_choir_s_tuning(tmp_path: Path, cents: float) -> None:
    path = tmp_path / "notes.mid"
    write_midi(path, {"alto": [Note(0, 9, 69, 440.0), Note(9, 18, 57, 220.0)]}, HOP_SECONDS, cents)
    a4_hz = 440 * 2 ** (cents / 1200)
    # The parameter goes in steps of a hundredth of a cent.
    assert frequencies_of(path) == pytest.approx([a4_hz, a4_hz / 2], rel=1e-5)
