from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from divisi.bootstrap import Scratch
from divisi.contract.errors import InputError


def test_the_folder_and_all_in_it_are_gone_at_the_end(tmp_path: Path) -> None:
    with Scratch(tmp_path / "work", "worker") as scratch:
        (scratch.fresh_folder("job") / "mixture").write_bytes(b"audio")
        assert scratch.path.parent == tmp_path / "work"
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_is_fresh_each_time(tmp_path: Path) -> None:
    with Scratch(tmp_path, "worker") as scratch:
        (scratch.fresh_folder("job") / "mixture").write_bytes(b"audio")
        assert list(scratch.fresh_folder("job").iterdir()) == []
        scratch.remove("job")
        assert not (scratch.path / "job").exists()
        scratch.remove("job")


def test_what_a_killed_worker_left_is_removed_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys; from pathlib import Path; from divisi.bootstrap import Scratch\n"
        "scratch = Scratch(Path(sys.argv[1]), 'worker').__enter__()\n"
        "(scratch.fresh_folder('job') / 'mixture').write_bytes(b'audio')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    with Scratch(tmp_path, "worker") as living:
        assert not left.exists()
        with Scratch(tmp_path, "worker"):
            assert living.path.exists()


def test_an_orphan_that_another_process_removes_at_the_same_time_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = tmp_path / "divisi-worker-left"
    orphan.mkdir()
    (orphan / "lock").touch()
    may_write = os.access

    def access_then_lose(path: Path, mode: int) -> bool:
        found = may_write(path, mode)
        path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "access", access_then_lose)
    with Scratch(tmp_path, "worker") as scratch:
        assert scratch.path.is_dir()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "divisi-worker-notes").mkdir()
    (tmp_path / "music").mkdir()
    with Scratch(tmp_path, "worker"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"divisi-worker-notes", "music"}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(InputError, match=f"{tmp_path}/file/work .*Not a directory.*DIVISI_WORK_DIR"),
        Scratch(tmp_path / "file" / "work", "worker"),
    ):
        pass
