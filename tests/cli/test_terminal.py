from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import typer

from divisi.cli.terminal import EXIT_FAILED, exit_on_error


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(typer.Exit) as left, exit_on_error():
        taken.mkdir()
    assert left.value.exit_code == EXIT_FAILED
    assert capsys.readouterr().err == f"error: {taken}: File exists\n"


def test_a_full_disk_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, exit_on_error():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert left.value.exit_code == EXIT_FAILED
    assert capsys.readouterr().err == "error: No space left on device\n"


def test_a_failure_that_names_no_file_stays_a_fault_of_ours() -> None:
    with pytest.raises(ConnectionResetError), exit_on_error():
        raise ConnectionResetError
