from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import typer
from rich.progress import TextColumn
from rich.table import Table

from divisi.cli.terminal import EXIT_FAILED, errors, exit_on_error, printable, progress_bar, say, show_table
from divisi.contract.errors import InputError


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


NAMES = ("[bold]Ave[/bold]", "[/] :smile: 12", "Ave Maria " * 40, "{task.id}", "Mottó \N{NO-BREAK SPACE}– 聖歌")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is_and_on_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"stems in {name}")
    assert capsys.readouterr().out == f"stems in {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_an_error_keeps_the_name_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_on_error():
        raise InputError(f"{name} is not a file")
    assert capsys.readouterr().err == f"error: {name} is not a file\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b]0;owned\x07\x1b[2J", "a\\x1b]0;owned\\x07\\x1b[2J"),
        ("line\nfeed\ttab\r\x9b", "line\\nfeed\\ttab\\r\\x9b"),
        ("fdp\u202evaw", "fdp\\u202evaw"),
        ("caf\udce9", "caf\ufffd"),
    ],
)
def test_what_would_drive_the_terminal_is_written_out(
    name: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printable(name) == shown
    say(name)
    assert capsys.readouterr().out == f"{shown}\n"


def test_a_table_in_a_pipe_is_as_wide_as_its_longest_name(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("recording", "state")
    for name in NAMES:
        table.add_row(name, "done")
    show_table(table)
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in NAMES)


def test_progress_is_silent_in_a_pipe_and_shows_the_name_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        task = progress.add_task("[bold]a[/bold] :smile:")
        shown = [column(progress.tasks[task]) for column in progress.columns if isinstance(column, TextColumn)]
    assert str(shown[0]) == "[bold]a[/bold] :smile:"
    assert not errors.is_terminal
    assert capsys.readouterr() == ("", "")
