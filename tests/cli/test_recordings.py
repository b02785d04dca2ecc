from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from divisi.audio.sndfile_source import SNDFILE_CONTAINERS
from divisi.cli.out_folder import NOTE_NAME, OutFolder
from divisi.cli.recordings import EXTENSIONS, check_readable, distinct, find_recordings
from divisi.contract.errors import InputError


def make(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return paths


def separated(folder: Path, *stems: str) -> list[Path]:
    """What a run leaves."""
    out = OutFolder(folder, "digest of a recording")
    with out.unfinished() as scratch:
        make(scratch, *stems)
        out.publish_all(scratch)
    out.finish("request")
    return [folder / stem for stem in stems]


def test_a_folder_gives_its_recordings_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "b/2.FLAC", "1.wav", "notes.txt")
    named = tmp_path / "odd.name"
    found = find_recordings([named, tmp_path])
    assert found.recordings == [named, tmp_path / "1.wav", tmp_path / "b/2.FLAC"]
    assert found.problems == []


@pytest.mark.parametrize("container", sorted(EXTENSIONS))
def test_every_extension_of_every_container_is_taken_in_any_case(container: str, tmp_path: Path) -> None:
    names = [f"{place}{extension}" for place, extension in enumerate(EXTENSIONS[container])]
    paths = make(tmp_path, *names, *(name.upper() for name in names))
    assert set(find_recordings([tmp_path]).recordings) == set(paths)


def test_every_container_that_is_read_has_extensions() -> None:
    assert set(EXTENSIONS) == SNDFILE_CONTAINERS | {"aac", "m4a", "webm"}


@pytest.mark.parametrize(
    "litter",
    [
        *("._choir.wav", "x/._choir.wav", "__MACOSX/choir.wav", "__MACOSX/a/choir.wav", ".Trash-1000/files/choir.wav"),
        *("@eaDir/choir.wav", ".Trashes/choir.wav", "$RECYCLE.BIN/choir.wav", ".git/choir.wav", "Thumbs.db"),
        *(".DS_Store", "out/.unfinished-ab12/alto.wav", "lost+found/choir.wav"),
    ],
)
def test_what_systems_and_killed_runs_leave_behind_is_not_taken(litter: str, tmp_path: Path) -> None:
    make(tmp_path, litter)
    (choir,) = make(tmp_path, "choir.wav")
    assert find_recordings([tmp_path]).recordings == [choir]


def test_a_hidden_folder_that_is_named_is_searched(tmp_path: Path) -> None:
    paths = make(tmp_path / ".songs", "a.wav")
    assert find_recordings([tmp_path / ".songs"]).recordings == paths


def test_stems_of_an_earlier_run_are_no_recordings(tmp_path: Path) -> None:
    (recording,) = make(tmp_path, "a/a.wav")
    stem, *_ = separated(tmp_path / "a", "alto.wav", "bass.wav")
    assert find_recordings([tmp_path]).recordings == [recording]
    assert find_recordings([stem]).recordings == [stem]


def test_stems_of_version_0_1_are_no_recordings(tmp_path: Path) -> None:
    recording, *_ = make(tmp_path, "a.wav", "out/alto.wav")
    (tmp_path / "out" / NOTE_NAME).write_text(json.dumps({"digest": "0", "files": ["alto.wav"]}))
    assert find_recordings([tmp_path]).recordings == [recording]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"files": 1}', '{"files": {"alto.wav": 1}}', "\0" * 9, "[" * 9999])
def test_beside_a_damaged_note_what_is_called_like_a_stem_is_none_and_other_files_are(
    note: str, tmp_path: Path
) -> None:
    recording, *_ = make(tmp_path, "out/mass.wav", "out/alto.wav", "out/residual.flac")
    (tmp_path / "out" / NOTE_NAME).write_text(note)
    assert find_recordings([tmp_path]).recordings == [recording]


def test_a_file_that_somebody_put_in_a_stems_place_is_a_recording(tmp_path: Path) -> None:
    alto, _ = separated(tmp_path / "out", "alto.wav", "bass.wav")
    alto.write_text("somebody's own recording")
    assert find_recordings([tmp_path]).recordings == [alto]


def test_a_file_that_is_named_twice_is_one_recording(tmp_path: Path) -> None:
    one, two = make(tmp_path, "a/1.wav", "a/2.wav")
    found = find_recordings([two, tmp_path, tmp_path / "a", tmp_path / "a/../a/1.wav"])
    assert distinct(found.recordings) == [two, one]


def test_links_to_folders_are_not_followed_round_in_circles(tmp_path: Path) -> None:
    (choir,) = make(tmp_path, "a/choir.wav")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "self.wav").symlink_to(tmp_path / "a" / "self.wav")
    found = find_recordings([tmp_path])
    assert found.recordings == [choir, tmp_path / "a" / "self.wav"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "it holds no files"),
        (["a.txt"], "it holds 1 other file"),
        (["a.txt", "b/c.pdf", "b/._x.wav"], "it holds 3 other files"),
    ],
)
def test_a_folder_in_which_nothing_is_taken_is_reported_with_what_it_holds(
    files: list[str], said: str, tmp_path: Path
) -> None:
    make(tmp_path / "v", *files)
    (tmp_path / "v").mkdir(exist_ok=True)
    assert find_recordings([tmp_path / "v"]).problems == [f"there are no recordings in {tmp_path / 'v'}: {said}"]


def test_a_folder_of_nothing_but_stems_says_so(tmp_path: Path) -> None:
    separated(tmp_path / "a", "alto.wav", "bass.wav")
    assert find_recordings([tmp_path]).problems == [
        f"there are no recordings in {tmp_path}: it holds 2 stems of earlier runs"
    ]


def test_one_empty_folder_does_not_hide_the_recordings_of_another(tmp_path: Path) -> None:
    paths = make(tmp_path / "full", "a.wav")
    (tmp_path / "empty").mkdir()
    found = find_recordings([tmp_path / "empty", tmp_path / "full"])
    assert found.recordings == paths
    assert len(found.problems) == 1


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", tmp_path / "gone.wav", tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            check_readable(path)
    (tmp_path / "self.wav").symlink_to(tmp_path / "self.wav")
    with pytest.raises(OSError, match="symbolic links"):
        check_readable(tmp_path / "self.wav")
