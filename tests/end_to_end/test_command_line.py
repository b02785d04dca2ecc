"""`divisi separate` as a person runs it: a process, files in, files out, an exit code and a plain line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.patience import PATIENCE_SECONDS

from divisi.sample import mixture_path

VOICES = ("soprano", "alto", "tenor", "bass")


def divisi(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "divisi.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_one_file_becomes_one_stem_per_voice_of_its_own_shape(tmp_path: Path, extension: str) -> None:
    done = divisi("separate", mixture_path(), "-o", tmp_path, "--format", extension)
    assert done.returncode == 0, done.stderr
    recording = soundfile.info(mixture_path())
    for voice in VOICES:
        stem = soundfile.info(tmp_path / f"{voice}.{extension}")
        assert (stem.frames, stem.samplerate, stem.channels) == (
            recording.frames,
            recording.samplerate,
            recording.channels,
        )
    made = {f"{voice}.{extension}" for voice in VOICES}
    assert {path.name for path in tmp_path.iterdir()} == made | {".divisi.json"}


def test_stems_and_residual_sum_to_the_recording(tmp_path: Path) -> None:
    done = divisi("separate", mixture_path(), "-o", tmp_path, "--format", "wav32f", "--residual")
    assert done.returncode == 0, done.stderr
    recording, _ = soundfile.read(mixture_path())
    total = sum(soundfile.read(tmp_path / f"{name}.wav")[0] for name in (*VOICES, "residual"))
    assert 20 * np.log10(np.abs(total - recording).max() + 1e-12) <= -90


def test_several_files_get_a_folder_each(tmp_path: Path) -> None:
    first, second = tmp_path / "first.wav", tmp_path / "second.wav"
    noise = np.random.default_rng(1).standard_normal(4000).astype(np.float32) * 0.1
    for path in (first, second):
        soundfile.write(path, noise, 16_000)
    done = divisi("separate", first, second, "-o", tmp_path / "out", "--stems", "alto")
    assert done.returncode == 0, done.stderr
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.wav"))
    assert written == ["first/alto.wav", "second/alto.wav"]


def test_a_folder_is_done_but_for_what_cannot_be_read_and_once_only(tmp_path: Path) -> None:
    songs = tmp_path / "songs"
    songs.mkdir()
    text_renamed(songs / "a.wav")
    for name in ("b.wav", "c.wav"):
        soundfile.write(songs / name, np.random.default_rng(1).standard_normal(4000) * 0.1, 16_000)
    done = divisi("separate", songs, "-o", tmp_path / "out", "--stems", "alto")
    assert done.returncode == 2
    assert "1 of 3 could not be read or written" in done.stderr
    assert "a.wav: " in done.stderr
    assert sorted(path.parent.name for path in (tmp_path / "out").rglob("alto.wav")) == ["b", "c"]
    again = divisi("separate", songs, "-o", tmp_path / "out", "--stems", "alto")
    assert "2 of 3 were done before" in again.stdout


def text_renamed(path: Path) -> Path:
    path.write_text("dies irae, dies illa\n" * 50)
    return path


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (lambda folder: [folder / "missing.wav"], "is not a file"),
        (lambda folder: [text_renamed(folder / "text.wav")], "audio"),
        (lambda folder: [mixture_path(), "--model", "no-such-model"], "no-such-model"),
        (lambda folder: [mixture_path(), "--stems", "countertenor"], "countertenor"),
        (lambda folder: [mixture_path(), "--format", "wma"], "wma"),
    ],
    ids=["missing file", "text renamed", "unknown model", "unknown stem", "unknown format"],
)
def test_input_that_cannot_be_taken_gives_a_plain_error_and_exit_code_2(
    tmp_path: Path, arguments: object, complaint: str
) -> None:
    done = divisi("separate", *arguments(tmp_path), "-o", tmp_path / "out")  # type: ignore[operator]
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "command", ["separate", "up", "demo", "gateway", "worker", "models", "export", "train", "evaluate"]
)
def test_every_command_explains_itself(command: str) -> None:
    done = divisi(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_help_for_compare_keeps_its_placeholder_and_an_example_a_line() -> None:
    lines = [line.strip(" │") for line in divisi("compare", "--help").stdout.splitlines()]
    assert any("OUT/<model>/" in line for line in lines)
    assert "divisi compare choir.wav --models satb-small,chorus --open" in lines


def test_models_lists_the_shipped_model_with_its_figure() -> None:
    done = divisi("models")
    assert done.returncode == 0
    assert "satb-small" in done.stdout


def test_a_setting_that_is_wrong_is_named_with_what_to_do() -> None:
    done = divisi("up", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "DIVISI_ALLOW_OPEN_ACCESS=true" in done.stderr
    assert "Traceback" not in done.stderr
