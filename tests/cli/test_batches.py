from __future__ import annotations

from pathlib import Path

from divisi.cli.batches import digest_of, is_done, mark_done, recordings_in
from divisi.cli.separate import output_folders


def test_a_folder_gives_its_recordings_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.FLAC", "1.wav", "notes.txt"):
        (tmp_path / name).touch()
    named = tmp_path / "odd.name"
    assert recordings_in([named, tmp_path]) == [named, tmp_path / "1.wav", tmp_path / "b/2.FLAC"]


def test_stems_of_an_earlier_run_are_no_recordings(tmp_path: Path) -> None:
    recording, stem = tmp_path / "a/a.wav", tmp_path / "a/alto.wav"
    recording.parent.mkdir()
    recording.touch()
    stem.touch()
    mark_done(tmp_path / "a", "digest", [recording])
    assert recordings_in([tmp_path]) == [recording]
    assert recordings_in([stem]) == [stem]


def test_what_is_done_is_known_by_content_options_and_the_files_that_are_there(tmp_path: Path) -> None:
    song, renamed, out = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "out"
    song.write_bytes(b"one")
    renamed.write_bytes(b"one")
    out.mkdir()
    (out / "alto.wav").touch()
    digest = digest_of([song], "options")
    assert not is_done(out, digest)
    mark_done(out, digest, [song])
    assert is_done(out, digest_of([renamed], "options"))
    assert not is_done(out, digest_of([song], "other options"))
    song.write_bytes(b"two")
    assert not is_done(out, digest_of([song], "options"))
    (out / "alto.wav").unlink()
    assert not is_done(out, digest)


def test_recordings_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / "x/a.wav", tmp_path / "y/a.wav", tmp_path / "y/a.flac"]
    assert len(set(output_folders(files, tmp_path, is_batch=True))) == 3
    assert output_folders([tmp_path / "a.wav"], tmp_path) == [tmp_path]
    assert output_folders([tmp_path / "a.wav"], tmp_path, is_batch=True) == [tmp_path / "a"]
