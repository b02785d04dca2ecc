from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.cli import out_folder
from divisi.cli.out_folder import NOTE_NAME, OutFolder, check_writable, identity_of, read_note
from divisi.contract.errors import InputError

Files = dict[str, str]


def deliver(folder: OutFolder, files: Files, request: str = "request") -> None:
    with folder.unfinished() as scratch:
        for name, text in files.items():
            (scratch / name).write_text(text)
        folder.publish_all(scratch)
    folder.finish(request)


def contents(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def without_note(folder: Path) -> Files:
    return {name: text for name, text in contents(folder).items() if name != NOTE_NAME}


def test_files_of_the_same_recording_are_replaced_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1", "bass.wav": "1"})
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "2", "alto.flac": "2"}, "another request")
    assert without_note(tmp_path) == {"notes.txt": "mine", "alto.wav": "2", "bass.wav": "1", "alto.flac": "2"}


def test_a_request_is_finished_while_all_its_files_are_there_and_its_own(tmp_path: Path) -> None:
    folder = OutFolder(tmp_path, "a")
    assert not folder.has_finished("request")
    deliver(folder, {"alto.wav": "1", "bass.wav": "1"})
    assert OutFolder(tmp_path, "a").has_finished("request")
    assert not OutFolder(tmp_path, "a").has_finished("another request")
    assert not OutFolder(tmp_path, "b").has_finished("request")
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "2"}, "another request")
    assert OutFolder(tmp_path, "a").has_finished("another request")
    assert not OutFolder(tmp_path, "a").has_finished("request")
    (tmp_path / "alto.wav").unlink()
    assert not OutFolder(tmp_path, "a").has_finished("another request")


def user_file(place: Path) -> None:
    place.write_text("mine")


def user_folder(place: Path) -> None:
    place.mkdir()


def link_to_nothing(place: Path) -> None:
    place.symlink_to("nowhere")


def link_out_of_the_folder(place: Path) -> None:
    outside = place.parent.parent / "outside"
    outside.write_text("mine")
    place.symlink_to(outside)


def changed_stem(place: Path) -> None:
    deliver(OutFolder(place.parent, "a"), {place.name: "1"})
    place.write_text("2")


@pytest.mark.parametrize("occupy", [user_file, user_folder, link_to_nothing, link_out_of_the_folder, changed_stem])
@pytest.mark.parametrize("name", ["alto.wav", "report.png", "pitch.json", "notes.mid"])
def test_what_a_run_did_not_make_is_refused_beforehand_and_stays(
    occupy: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    occupy(out / name)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=f"{name}.*write to another folder") as refused:
        OutFolder(out, "a", replaces_others=True).check(["bass.wav", name])
    assert refused.value.code == "would-replace"
    with pytest.raises(InputError):
        deliver(OutFolder(out, "a", replaces_others=True), {"bass.wav": "3", name: "3"})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("occupy", [user_file, user_folder, link_to_nothing, link_out_of_the_folder])
def test_a_note_that_is_not_divisis_is_not_replaced(occupy: Callable[[Path], None], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    occupy(out / NOTE_NAME)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"\.divisi\.json"):
        OutFolder(out, "a").check([])
    with pytest.raises(InputError):
        deliver(OutFolder(out, "a"), {"alto.wav": "1"})
    assert contents(tmp_path) == before


def test_what_was_made_of_another_recording_is_replaced_on_demand_alone(tmp_path: Path) -> None:
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1"})
    with pytest.raises(InputError, match=r"another recording.*--again"):
        OutFolder(tmp_path, "b").check(["alto.wav"])
    with pytest.raises(InputError):
        deliver(OutFolder(tmp_path, "b"), {"alto.wav": "2"})
    assert without_note(tmp_path) == {"alto.wav": "1"}
    deliver(OutFolder(tmp_path, "b", replaces_others=True), {"alto.wav": "2"})
    assert without_note(tmp_path) == {"alto.wav": "2"}
    assert not OutFolder(tmp_path, "a").has_finished("request")


def test_no_recording_of_the_run_is_replaced_though_divisi_made_it(tmp_path: Path) -> None:
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1", "bass.wav": "1"})
    (tmp_path / "mine.wav").hardlink_to(tmp_path / "alto.wav")
    recordings = frozenset({identity_of(tmp_path / "mine.wav")})
    folder = OutFolder(tmp_path, "a", recordings, replaces_others=True)
    folder.check(["bass.wav"])
    with pytest.raises(InputError, match="the recording itself") as refused:
        folder.check(["alto.wav"])
    assert refused.value.code == "would-replace-recording"


def test_a_file_that_appears_while_divisi_works_is_not_replaced(tmp_path: Path) -> None:
    folder = OutFolder(tmp_path, "a")
    with folder.unfinished() as scratch:
        folder.check(["alto.wav"])
        (scratch / "alto.wav").write_text("1")
        (tmp_path / "alto.wav").write_text("mine")
        with pytest.raises(InputError, match=r"alto\.wav"):
            folder.publish_all(scratch)
    assert without_note(tmp_path) == {"alto.wav": "mine"}


@pytest.mark.parametrize("refusal", [None, errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_that_appears_in_the_last_moment_is_not_replaced(
    refusal: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    place = tmp_path / "alto.wav"

    def link_too_late(source: Path, target: Path) -> None:
        if target == place:
            target.write_text("mine")
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))
        link(source, target)

    monkeypatch.setattr(out_folder.os, "link", link_too_late)
    with pytest.raises(InputError, match="appeared while divisi worked"):
        deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1"})
    assert place.read_text() == "mine"


def test_a_file_system_without_hard_links_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(out_folder.os, "link", refuse)
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1"})
    assert without_note(tmp_path) == {"alto.wav": "1"}


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in (kept, tmp_path / "new" / "folder"):
        with pytest.raises(ZeroDivisionError), OutFolder(path, "a").unfinished() as scratch:
            (scratch / "alto.wav").write_text(f"{1 / 0}")
    assert list(kept.iterdir()) == []
    assert not (tmp_path / "new" / "folder").exists()


def test_a_killed_run_leaves_a_note_of_every_file_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Not tidied up: a folder that is entered and never left, as by kill -9."""
    killed = OutFolder(tmp_path, "a")
    unfinished = killed.unfinished()
    scratch = unfinished.__enter__()
    (scratch / "alto.wav").write_text("1")
    killed.publish(scratch / "alto.wav", out_folder.sha256_of(scratch / "alto.wav"))
    note = read_note(tmp_path)
    assert note is not None
    assert set(note.files) == {"alto.wav"}
    assert not OutFolder(tmp_path, "a").has_finished("request")
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "2", "bass.wav": "2"})
    assert {"alto.wav": "2", "bass.wav": "2"}.items() <= contents(tmp_path).items()


def test_a_run_that_is_killed_between_note_and_file_does_not_lock_its_own_files(tmp_path: Path) -> None:
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "1"})
    killed = OutFolder(tmp_path, "a")
    with killed.unfinished() as scratch:
        (scratch / "alto.wav").write_text("22")
        killed.publish(scratch / "alto.wav", out_folder.sha256_of(scratch / "alto.wav"))
    (tmp_path / "alto.wav").write_text("1")  # as if the file had not come to its place
    deliver(OutFolder(tmp_path, "a"), {"alto.wav": "333"})
    assert without_note(tmp_path) == {"alto.wav": "333"}


@pytest.mark.parametrize("out", ["file", "file/below", "file/far/below"])
def test_a_file_in_the_folders_place_is_named(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for act in (lambda: OutFolder(tmp_path / out, "a").check([]), lambda: check_writable(tmp_path / out)):
        with pytest.raises(InputError, match=r"file is no folder.*--out"):
            act()
    assert contents(tmp_path) == {"file": "mine"}
