"""`divisi watch` separates what comes into a folder once, when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from divisi.cli.out_folder import OutFolder
from divisi.cli.watch import PAUSE_SECONDS, QUIET_SECONDS, Watch
from divisi.contract.errors import InputError, LimitError, UnavailableError


class Studio:
    """A watched folder, a clock that is set by hand, and what was separated."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder / "in", folder / "stems"
        self.folder.mkdir()
        self.now = 1_780_000_000.0
        self.separated: list[str] = []
        self.failure: Exception | None = None
        self.watch = self.begin()

    def begin(self) -> Watch:
        return Watch(self.folder, self.out, self.separate, "key", now=lambda: self.now)

    def separate(self, paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> list[str]:
        self.separated.append(paths[0].name)
        with out.unfinished() as scratch:
            (scratch / "alto.wav").write_bytes(b"alto of " + paths[0].read_bytes())
            if self.failure:
                raise self.failure
            out.publish_all(scratch)
        return []

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (self.now, self.now))
        return path

    def look(self, after: float = QUIET_SECONDS) -> list[str]:
        self.separated.clear()
        self.now += after
        self.watch.look()
        return sorted(self.separated)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_a_recording_is_taken_once_when_nobody_writes_to_it_any_more(studio: Studio) -> None:
    assert studio.look() == []
    studio.write("Ave.wav", b"half")
    assert studio.look(after=1) == []
    studio.write("Ave.wav", b"half and half")
    assert studio.look(after=QUIET_SECONDS - 1) == []
    assert studio.look(after=1) == ["Ave.wav"]
    assert (studio.out / "Ave/alto.wav").read_bytes() == b"alto of half and half"
    assert studio.look() == []


def test_others_are_taken_as_they_come_at_any_depth_and_stems_are_none_of_them(studio: Studio) -> None:
    studio.watch.out = studio.folder / "stems"
    studio.write("a.wav", b"one")
    assert studio.look() == ["a.wav"]
    studio.write("monday/b.flac", b"two")
    studio.write("notes.txt", b"three")
    assert studio.look() == ["b.flac"]
    studio.now += 1e9  # by the disk's own clock, stems are younger
    assert studio.look() == []


def test_what_an_earlier_run_has_done_is_skipped_whatever_it_is_called_now(studio: Studio) -> None:
    path = studio.write("a.wav", b"one")
    studio.look()
    path.rename(studio.folder / "b.wav")
    studio.watch = studio.begin()
    assert studio.look() == []
    assert [folder.name for folder in studio.out.iterdir()] == ["a"]


def test_what_failed_is_tried_again_when_it_has_changed(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    studio.failure = InputError("the file is damaged", code="undecodable")
    studio.write("a.wav", b"damaged")
    studio.write("b.wav", b"damaged too")
    assert studio.look() == ["a.wav", "b.wav"]
    assert "damaged" in capsys.readouterr().err
    assert studio.look() == []
    studio.failure = None
    studio.write("a.wav", b"whole")
    assert studio.look() == ["a.wav"]


def test_while_a_server_is_away_recordings_wait(studio: Studio, capsys: pytest.CaptureFixture[str]) -> None:
    studio.failure = UnavailableError("the server does not answer")
    studio.write("a.wav", b"one")
    studio.write("b.wav", b"two")
    assert studio.look() == ["a.wav"]
    assert "a.wav and what comes after it wait" in " ".join(capsys.readouterr().out.split())
    assert studio.look(after=1) == []
    assert studio.look(after=PAUSE_SECONDS) == ["a.wav"]
    assert capsys.readouterr().out == "", "it is said once"
    studio.failure = LimitError("a hundred jobs wait", retry_after_seconds=60)
    assert studio.look(after=PAUSE_SECONDS) == ["a.wav"]
    assert studio.look(after=59) == []
    studio.failure = None
    assert studio.look(after=1) == ["a.wav", "b.wav"]


def test_a_file_that_takes_the_place_of_another_is_a_new_one(studio: Studio) -> None:
    path = studio.write("a.wav", b"one")
    studio.look()
    path.unlink()
    studio.look()
    studio.write("a.wav", b"two")
    assert studio.look() == ["a.wav"]
    assert sorted(folder.name for folder in studio.out.iterdir()) == ["a", "in-a"]
