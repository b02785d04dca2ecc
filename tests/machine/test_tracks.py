"""`divisi tracks` on this machine: of a folder of stems, and of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from divisi.cli.app import app
from divisi.contract.tracks import TrackArguments, TrackSetOptions, query_of
from divisi.sample import mixture_path

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Stems of a second."""
    (tmp_path / "Ave verum").mkdir()
    for name, level in (("alto", 0.2), ("soprano", 0.1), ("residual", 0.01), ("resynthesis", 0.5)):
        soundfile.write(tmp_path / "Ave verum" / f"{name}.wav", np.full(RATE, level), RATE)
    return tmp_path / "Ave verum"


def test_a_folder_of_stems_gives_a_set_in_the_order_of_a_score(folder: Path, tmp_path: Path) -> None:
    asked = ["--format", "wav", "--layouts", "front,left", "--speed", "80"]
    done = CliRunner().invoke(app, ["tracks", str(folder), "-o", str(tmp_path / "out"), *asked])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "01 all parts (80 percent).wav",
        "02 soprano in front (80 percent).wav",
        "04 soprano left, the rest right (80 percent).wav",
        "06 alto in front (80 percent).wav",
        "08 alto left, the rest right (80 percent).wav",
    ]
    with soundfile.SoundFile(tmp_path / "out" / "08 alto left, the rest right (80 percent).wav") as file:
        assert (file.frames, file.channels, file.album) == (RATE * 100 // 80, 2, "Ave verum")
    again = CliRunner().invoke(app, ["tracks", str(folder), "-o", str(tmp_path / "out"), *asked])
    assert again.exit_code == 2
    assert "is there already" in again.output.replace("\n", " ")


def test_a_recording_is_separated_first(tmp_path: Path) -> None:
    samples, rate = soundfile.read(mixture_path(), frames=44_100)
    soundfile.write(tmp_path / "song.wav", samples, rate)
    asked = ["--format", "wav", "--layouts", "without", "--parts", "alto"]
    done = CliRunner().invoke(app, ["tracks", str(tmp_path / "song.wav"), "-o", str(tmp_path / "out"), *asked])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["01 all parts.wav", "07 without alto.wav"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [(["--speed", "40"], "speed"), (["--layouts", "behind"], "layouts"), (["--parts", "flute"], "flute")],
)
def test_what_cannot_be_had_is_refused(folder: Path, tmp_path: Path, asked: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["tracks", str(folder), "-o", str(tmp_path / "out"), *asked])
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_what_a_recording_cannot_give_is_refused_before_it_is_separated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("divisi.machine.tracks.local_separation", lambda _: pytest.fail("it was separated"))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["tracks", str(mixture_path()), "-o", str(out), "--parts", "flute"])
    assert (done.exit_code, out.exists()) == (2, False)
    assert "it has soprano, alto, tenor, bass" in done.output.replace("\n", " ")
    out.mkdir()
    (out / "07 without alto.mp3").touch()
    done = CliRunner().invoke(app, ["tracks", str(mixture_path()), "-o", str(out)])
    assert done.exit_code == 2
    assert "is there already" in done.output.replace("\n", " ")
    assert [path.name for path in out.iterdir()] == ["07 without alto.mp3"]


def test_arguments_and_options_are_the_same() -> None:
    assert set(TrackArguments.__annotations__) == set(TrackSetOptions.model_fields)
    assert query_of({"parts": ["alto", "bass"], "speed": 80, "choir": ""}) == {"parts": "alto,bass", "speed": "80"}
    with pytest.raises(TypeError, match="tempo"):
        query_of({"tempo": 80})
