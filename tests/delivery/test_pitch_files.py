from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mido import MidiFile

from divisi.delivery.pitch_files import PitchFiles

HOP_SECONDS = 0.032
SAMPLE_RATE = 16_000
STEMS = ("soprano", "alto")
NAMES = [
    *("pitch.csv", "pitch.json", "notes.mid", "bars.json", "intonation.csv", "intonation.json"),
    *("score.musicxml", "soprano.musicxml", "alto.musicxml"),
]


def write(folder: Path, f0_hz: np.ndarray, voicing: np.ndarray | None = None, block: int = 11) -> dict:
    with PitchFiles(folder, STEMS, HOP_SECONDS, SAMPLE_RATE, has_voicing=voicing is not None) as files:
        for start in range(0, f0_hz.shape[1], block):
            part = slice(start, start + block)
            files.write(f0_hz[:, part], None if voicing is None else voicing[:, part])
        paths = files.finish()
    assert [path.name for path in paths] == NAMES
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


def test_all_files_agree_on_a_choir_a_quarter_tone_sharp(tmp_path: Path) -> None:
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
    for name in NAMES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_recording_without_a_frame_has_files_all_the_same(tmp_path: Path) -> None:
    content = write(tmp_path, np.zeros((2, 0), np.float32))
    assert content["num_frames"] == 0
    assert content["voices"]["alto"] == {"f0_hz": [], "notes": []}


def test_a_note_that_is_sung_again_is_two_notes(tmp_path: Path) -> None:
    """The pitch goes on; the stem falls silent for a tenth of a second."""
    with PitchFiles(tmp_path, ("alto",), HOP_SECONDS, SAMPLE_RATE, has_voicing=False) as files:
        files.write(np.full((1, 63), 440, np.float32), None)
        samples = np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
        samples[round(0.9 * SAMPLE_RATE) : SAMPLE_RATE] = 0
        for block in np.split(samples.astype(np.float32), 10):
            files.write_stems(np.stack([block, block])[None])
        files.finish()
    notes = json.loads((tmp_path / "pitch.json").read_text())["voices"]["alto"]["notes"]
    assert [note["midi"] for note in notes] == [69, 69]
    assert notes[1]["start_seconds"] == pytest.approx(1.0, abs=0.02)
    messages = [m for m in MidiFile(tmp_path / "notes.mid").tracks[0] if m.type == "note_on"]
    assert len(messages) == 2


def test_nothing_but_the_files_is_left(tmp_path: Path, tracks: np.ndarray) -> None:
    write(tmp_path, tracks)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_memory_does_not_grow_with_the_tracks(tmp_path: Path) -> None:
    # One long note: notes themselves are held, some hundred bytes each.
    block = np.full((2, 500), 220, np.float32)

    def peak_bytes(num_blocks: int) -> int:
        tracemalloc.start()
        with PitchFiles(tmp_path, STEMS, HOP_SECONDS, SAMPLE_RATE, has_voicing=False) as files:
            for _ in range(num_blocks):
                files.write(block, None)
            files.finish()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(10)  # what is allocated once and kept
    assert peak_bytes(80) < 1.1 * peak_bytes(20)
