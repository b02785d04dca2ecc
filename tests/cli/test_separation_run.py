"""Batches as a person runs them, with a separation that writes the recording's bytes as its stem."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from divisi.cli.app import app
from divisi.cli.out_folder import OutFolder, SeparateOne
from divisi.cli.request import CommandRequest
from divisi.contract.errors import InputError, ModelError, UnavailableError

FAULTS: dict[bytes, Exception] = {
    b"undecodable": InputError("the file cannot be decoded", code="undecodable"),
    b"crash": RuntimeError("the decoder went astray"),
    b"too long": ModelError("out of memory", code="engine-failed"),
    b"96 kHz": InputError("mp3 holds 48000 Hz; the recording has 96000 Hz", code="unsupported-stem-format"),
    b"sector": OSError(errno.EIO, "Input/output error"),
    b"server": UnavailableError("the server does not answer"),
    b"disk": OSError(errno.ENOSPC, "No space left on device"),
}


@dataclass(frozen=True)
class Ran:
    """One run of `divisi separate`; `separated`: names of the recordings that were worked on."""

    exit_code: int
    out: str
    err: str
    separated: list[str]


@pytest.fixture
def separate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    separated: list[str] = []

    def fake(request: CommandRequest) -> SeparateOne:
        def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> list[str]:
            separated.append(paths[0].name)
            content = paths[0].read_bytes()
            with out.unfinished() as scratch:
                (scratch / "alto.wav").write_bytes(content)
                if fault := FAULTS.get(content):
                    raise fault
                out.publish_all(scratch)
            return []

        return separate_one

    monkeypatch.setattr("divisi.machine.separation.local_separation", fake)

    def run(*arguments: str | Path) -> Ran:
        separated.clear()
        done = CliRunner().invoke(app, ["separate", *map(str, arguments)])
        return Ran(done.exit_code, done.stdout, done.stderr, list(separated))

    return run


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    (tmp_path / "songs").mkdir()
    for name, content in (("a.wav", b"one"), ("z.wav", b"two")):
        (tmp_path / "songs" / name).write_bytes(content)
    return tmp_path / "songs"


def test_stems_lie_beside_their_recordings_where_that_is_asked(separate: Callable[..., Ran], songs: Path) -> None:
    (songs / "monday").mkdir()
    (songs / "monday/a.wav").write_bytes(b"three")
    (songs / "z").mkdir()
    (songs / "z/notes.txt").write_text("the singer's own")
    assert separate(songs, "--beside").separated == ["a.wav", "a.wav", "z.wav"]
    found = {path.relative_to(songs).as_posix(): path.read_bytes() for path in songs.rglob("alto.wav")}
    assert found == {"a/alto.wav": b"one", "monday/a/alto.wav": b"three", "songs-z/alto.wav": b"two"}
    assert separate(songs, "--beside").separated == []
    assert separate(songs / "a.wav", "--beside").separated == []


@pytest.mark.parametrize("content", [b"undecodable", b"crash", b"too long", b"96 kHz", b"sector"])
def test_what_is_wrong_with_one_recording_leaves_the_others_done_and_is_named_at_the_end(
    content: bytes, separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    (songs / "m[bold].wav").write_bytes(content)
    ran = separate(songs, "-o", tmp_path / "out")
    assert ran.exit_code == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "z"]
    assert "error: 1 of 3 could not be read or written:\n" in ran.err
    assert ran.err.splitlines()[-1].startswith(f"{songs / 'm[bold].wav'}: ")


def test_recordings_that_cannot_be_opened_are_named_beside_those_that_are_done(
    separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    (songs / "gone.wav").symlink_to("nowhere")
    (songs / "loop.wav").symlink_to("loop.wav")
    ran = separate(songs, tmp_path / "missing.wav", "-o", tmp_path / "out")
    assert ran.exit_code == 2
    assert ran.separated == ["a.wav", "z.wav"]
    assert f"{songs / 'gone.wav'} is not a file\n" in ran.err
    assert f"{songs / 'loop.wav'}: Too many levels of symbolic links\n" in ran.err
    assert f"{tmp_path / 'missing.wav'} is not a file\n" in ran.err


def test_a_path_that_no_file_system_takes_is_one_recordings_own_fault(
    separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    ran = separate("x" * 300 + ".wav", "y/" * 3000 + "a.wav", songs / "a.wav", "-o", tmp_path / "out")
    assert (ran.exit_code, ran.separated) == (2, ["a.wav"])
    assert ran.err.count("File name too long") == 2


@pytest.mark.parametrize("content", [b"server", b"disk"])
def test_what_every_recording_would_meet_ends_the_run_and_says_what_is_done(
    content: bytes, separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    (songs / "m.wav").write_bytes(content)
    ran = separate(songs, "-o", tmp_path / "out")
    assert ran.exit_code == 1
    assert ran.separated == ["a.wav", "m.wav"]
    assert ran.out == f"stems in {tmp_path / 'out' / 'a'}\n"


def test_what_is_finished_is_skipped_whatever_was_added_renamed_or_moved(
    separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert separate(songs, "-o", out).separated == ["a.wav", "z.wav"]
    (songs / "b").mkdir()
    (songs / "b" / "a.flac").write_bytes(b"three")
    (songs / "a.wav").rename(songs / "b" / "renamed.wav")
    ran = separate(songs, "-o", out)
    assert ran.separated == ["a.flac"]
    assert "2 of 3 were done before" in ran.out
    assert {folder.name: (folder / "alto.wav").read_bytes() for folder in out.iterdir()} == {
        "a": b"one",
        "b-a": b"three",
        "z": b"two",
    }
    assert separate(songs, "-o", out, "--again").separated == ["a.flac", "renamed.wav", "z.wav"]


def test_a_folder_in_which_nothing_is_taken_is_no_success(separate: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "mass.pdf").touch()
    ran = separate(tmp_path / "scores", "-o", tmp_path / "out")
    assert ran.exit_code == 2
    assert ran.err == f"error: there are no recordings in {tmp_path / 'scores'}: it holds 1 other file\n"


def test_one_recording_goes_again_into_the_same_folder_and_another_one_on_demand(
    separate: Callable[..., Ran], songs: Path, tmp_path: Path
) -> None:
    stem = tmp_path / "out" / "alto.wav"
    for _ in range(2):
        assert separate(songs / "a.wav", "-o", tmp_path / "out").exit_code == 0
    refused = separate(songs / "z.wav", "-o", tmp_path / "out")
    assert (refused.exit_code, refused.separated, stem.read_bytes()) == (2, [], b"one")
    assert separate(songs / "z.wav", "-o", tmp_path / "out", "--again").exit_code == 0
    assert stem.read_bytes() == b"two"
