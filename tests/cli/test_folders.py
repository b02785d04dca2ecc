from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from divisi.cli.out_folder import OutFolder
from divisi.cli.recordings import digest_of, folder_name, folders_for
from divisi.cli.separate import ends_the_run, reason_of
from divisi.contract.errors import AccessError, InputError, LimitError, ModelError, NotFoundError, UnavailableError


def separated(folder: Path, digest: str) -> Path:
    """What a run leaves of a recording of this digest."""
    out = OutFolder(folder, digest)
    with out.unfinished() as scratch:
        (scratch / "alto.wav").write_text(digest)
        out.publish_all(scratch)
    return folder


def names(paths: list[str], out: Path, digests: list[str] | None = None) -> list[str]:
    return [path.name for path in folders_for([Path(path) for path in paths], digests or paths, out)]


def test_what_is_done_is_known_by_content_and_by_what_is_asked_whatever_files_are_called(tmp_path: Path) -> None:
    song, renamed = tmp_path / "a.wav", tmp_path / "b.wav"
    song.write_bytes(b"one")
    renamed.write_bytes(b"one")
    before = digest_of([song], "options")
    assert before == digest_of([renamed], "options")
    assert before != digest_of([song], "other options")
    assert before != digest_of([song, renamed], "options")
    song.write_bytes(b"two")
    assert before != digest_of([song], "options")


def test_recordings_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    assert names(["x/a.wav", "y/a.wav", "y/a.flac", "y/b/a.ogg"], tmp_path) == ["a", "y-a", "a-2", "b-a"]


@pytest.mark.parametrize(
    "pair",
    [
        ("x/Kyrie.wav", "y/KYRIE.wav"),
        ("x/caf\N{LATIN SMALL LETTER E WITH ACUTE}.wav", "y/cafe\N{COMBINING ACUTE ACCENT}.wav"),
        ("x/stra\N{LATIN SMALL LETTER SHARP S}e.wav", "y/STRASSE.wav"),
        ("x/a.wav", "y/a..wav"),
        ("x/a.wav", "y/a .wav"),
        ("x/a.wav", "y/.a.wav"),
        ("x/\N{ANGSTROM SIGN}.wav", "y/\N{LATIN SMALL LETTER A WITH RING ABOVE}.wav"),
    ],
)
def test_names_that_a_file_system_may_take_for_one_get_two_folders(pair: tuple[str, str], tmp_path: Path) -> None:
    first, second = (unicodedata.normalize("NFC", name).casefold() for name in names(list(pair), tmp_path))
    assert first != second
    assert unicodedata.normalize("NFC", first) != unicodedata.normalize("NFC", second)


@pytest.mark.parametrize("name", ["...wav", "..wav", ".wav", ". .wav", " .wav", "....", ". . .", "..", "   .flac"])
def test_no_name_leads_out_of_the_folder_or_into_itself_or_hides(name: str, tmp_path: Path) -> None:
    (folder,) = folders_for([tmp_path / name], ["0"], tmp_path / "out")
    assert folder.parent == tmp_path / "out"
    assert folder.name.strip(". ") == folder.name != ""


def test_a_name_that_is_too_long_is_cut_and_stays_distinct(tmp_path: Path) -> None:
    long = "\N{LATIN SMALL LETTER E WITH ACUTE}" * 126
    folders = folders_for([Path(f"{place}/{long}.wav") for place in "xyz"], list("xyz"), tmp_path)
    assert len(set(folders)) == 3
    for folder in folders:
        folder.mkdir()
        os.fsencode(folder.name).decode()


def test_a_name_that_is_no_utf_8_keeps_its_bytes(tmp_path: Path) -> None:
    assert folder_name(Path(os.fsdecode(b"caf\xe9.wav"))) == os.fsdecode(b"caf\xe9")


def test_a_folder_that_holds_anything_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "b").touch()
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "d").symlink_to("nowhere")
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "alto.wav").touch()
    separated(tmp_path / "f", "of another recording")
    found = names([f"x/{letter}.wav" for letter in "abcdef"], tmp_path)
    assert found == [f"x-{letter}" for letter in "abcdef"]


def test_an_empty_folder_and_one_of_a_killed_run_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a" / ".unfinished-x").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    killed = OutFolder(tmp_path / "c", "0").unfinished()
    killed.__enter__()
    assert names(["a.wav", "b.wav", "c.wav"], tmp_path) == ["a", "b", "c"]


def test_stems_stay_where_they_are_whatever_is_added_renamed_or_moved(tmp_path: Path) -> None:
    separated(tmp_path / "a", "1")
    assert names(["a.wav", "b/a.flac"], tmp_path, ["1", "2"]) == ["a", "b-a"]
    assert names(["0/a.flac", "a.wav"], tmp_path, ["2", "1"]) == ["0-a", "a"]
    assert names(["renamed.wav"], tmp_path, ["1"]) == ["a"]
    (tmp_path / "a").rename(tmp_path / "the best")
    assert names(["a.wav"], tmp_path, ["1"]) == ["the best"]


def test_recordings_of_the_same_content_keep_their_folders(tmp_path: Path) -> None:
    separated(tmp_path / "a", "1")
    separated(tmp_path / "b", "1")
    assert names(["b.wav", "a.wav", "c.wav"], tmp_path, ["1", "1", "1"]) == ["b", "a", "c"]
    assert names(["c.wav", "b.wav"], tmp_path, ["1", "1"]) == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("the server is away"),
        AccessError("no key"),
        LimitError("too many requests"),
        NotFoundError("no such model", code="unknown-model"),
        InputError("no such stem", code="unknown-stem"),
        OSError(errno.ENOSPC, "No space left on device"),
        ModuleNotFoundError("onnxruntime"),
    ],
    ids=str,
)
def test_what_every_recording_would_meet_ends_the_run(error: Exception) -> None:
    assert ends_the_run(error)


@pytest.mark.parametrize(
    "error",
    [
        InputError("not audio", code="not-audio"),
        InputError("96 kHz", code="unsupported-stem-format"),
        InputError("of a code to come"),
        ModelError("out of memory", code="engine-failed"),
        NotFoundError("the job is gone", code="unknown-job"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        OSError(errno.EIO, "Input/output error"),
        UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
        MemoryError(),
        RuntimeError("the decoder went astray"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_one_recordings_own_does_not_end_the_run_and_has_a_reason(error: Exception) -> None:
    assert not ends_the_run(error)
    assert reason_of(error)


def test_a_link_to_a_folder_of_stems_is_not_written_through(tmp_path: Path) -> None:
    separated(tmp_path / "elsewhere", "1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    assert names(["x/a.wav"], tmp_path / "out", ["1"]) == ["x-a"]
