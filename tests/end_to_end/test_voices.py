"""`divisi separate` with a model that is told who sings, has pitch tracks and sings again; all parts are real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mido import MidiFile
from tests.models.tiny_bundle import tiny_draft, tiny_roster_network
from typer.testing import CliRunner, Result

from divisi.cli.app import app
from divisi.sample import mixture_path
from divisi.settings import load_settings
from divisi_workshop.export.export import export_bundle

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    export_bundle(tiny_roster_network(), tiny_draft(id="tiny-roster", takes_roster=True), root)
    return root


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """A process reads its settings once."""
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def run(model_store: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DIVISI_MODEL_STORE", str(model_store))
    monkeypatch.setenv("DIVISI_DEFAULT_MODEL", "tiny-roster")
    return lambda *arguments: CliRunner().invoke(app, ["separate", *map(str, arguments)])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Seven seconds of stereo noise at 22.05 kHz."""
    path = tmp_path / "duet.wav"
    noise = 0.1 * np.random.default_rng(5).standard_normal((7 * 22_050, 2))
    soundfile.write(path, noise.astype(np.float32), 22_050)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_named_voices_sound_and_the_files_still_add_up(run: Run, recording: Path, tmp_path: Path) -> None:
    done = run(recording, "-o", tmp_path / "out", "--voices", "lower", "--residual", "--format", "wav32f")
    assert done.exit_code == 0, done.output
    stems = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "out").glob("*.wav")}
    assert sorted(stems) == ["lower", "residual", "upper"]
    assert not stems["upper"].any()
    assert stems["lower"].any()
    np.testing.assert_allclose(sum(stems.values()), soundfile.read(recording)[0], atol=1e-5)


@pytest.mark.parametrize("voices", [None, "upper", "auto"])
def test_the_same_request_gives_the_same_bytes(voices: str | None, run: Run, recording: Path, tmp_path: Path) -> None:
    asked = ["--pitch", "--resynthesis", "--residual", *(["--voices", voices] if voices else [])]
    outputs = []
    for name in ("first", "second"):
        done = run(recording, "-o", tmp_path / name, *asked)
        assert done.exit_code == 0, done.output
        assert ("detected" in done.output) == (voices == "auto")
        outputs.append(contents(tmp_path / name))
    assert sorted(outputs[0]) == [
        *(
            ".divisi.json",
            "bars.json",
            "intonation.csv",
            "intonation.json",
            "lower.musicxml",
            "lower.wav",
            "notes.mid",
            "pitch.csv",
            "pitch.json",
        ),
        *("residual.wav", "resynthesis.wav", "score.musicxml", "upper.musicxml", "upper.wav"),
    ]
    assert outputs[0] == outputs[1]


def test_pitch_of_absent_voices_is_none(run: Run, recording: Path, tmp_path: Path) -> None:
    assert run(recording, "-o", tmp_path / "out", "--voices", "upper", "--pitch").exit_code == 0
    voices = json.loads((tmp_path / "out" / "pitch.json").read_text())["voices"]
    assert list(voices) == ["upper", "lower"]
    assert any(voices["upper"]["f0_hz"])
    assert (any(voices["lower"]["f0_hz"]), voices["lower"]["notes"]) == (False, [])
    tracks = {
        track.name: [m for m in track if m.type == "note_on"] for track in MidiFile(tmp_path / "out/notes.mid").tracks
    }
    assert list(tracks) == ["upper", "lower"]
    assert tracks["lower"] == []


@pytest.mark.parametrize(
    ("voices", "complaint"), [("tuba", "tuba"), ("upper,auto", "not both"), ("upper,tuba", "upper, lower, or auto")]
)
def test_voices_that_cannot_be_had_are_refused(
    voices: str, complaint: str, run: Run, recording: Path, tmp_path: Path
) -> None:
    done = run(recording, "-o", tmp_path / "out", "--voices", voices)
    assert done.exit_code == 2
    assert complaint in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_finds_the_notes_of_the_sample_and_says_that_it_cannot_be_told_who_sings(
    tmp_path: Path,
) -> None:
    separate = ["separate", str(mixture_path()), "-o", str(tmp_path / "out"), "--model", "satb-small"]
    done = CliRunner().invoke(app, [*separate, "--stems", "alto", "--pitch"])
    assert done.exit_code == 0, done.output
    notes = json.loads((tmp_path / "out" / "pitch.json").read_text())["voices"]["alto"]["notes"]
    seconds = soundfile.info(mixture_path()).duration
    assert len(notes) > seconds / 2
    assert all(50 <= note["midi"] <= 80 for note in notes)
    refused = CliRunner().invoke(app, [*separate, "--voices", "alto"])
    assert refused.exit_code == 2
    assert "takes no list of who sings" in " ".join(refused.stderr.split())
