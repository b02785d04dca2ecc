"""What the commands share with the person at the terminal: consoles, errors as one line, progress bars, settings."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from divisi.errors import DivisiError, InputError, NotFoundError
from divisi.settings import Settings, load_settings

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

console = Console()
errors = Console(stderr=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turns our errors into one plain line and an exit code: 2 for bad input, 1 for the rest."""
    try:
        yield
    except (InputError, NotFoundError) as error:
        errors.print(f"[red]error:[/red] {escape(error.message)}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    except DivisiError as error:
        errors.print(f"[red]error:[/red] {escape(error.message)}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_FAILED) from error
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise  # not what somebody set, but a fault of ours
        for problem in error.errors():
            name = "_".join(["DIVISI", *map(str, problem["loc"])]).upper() + ": " if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            errors.print(f"[red]error:[/red] {name}{escape(message)}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise  # no file that somebody named, and no room that somebody can make
        where = "" if error.filename is None else f"{error.filename}: "
        errors.print(f"[red]error:[/red] {escape(f'{where}{error.strerror}')}", soft_wrap=True, highlight=False)
        raise typer.Exit(EXIT_FAILED) from error
    except ModuleNotFoundError as error:
        errors.print(
            f"[red]error:[/red] this command needs the package {error.name}; install its extra, "
            "such as `pip install 'divisi[standalone]'` (README: what to install)",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_FAILED) from error


def settings_with(**changes: Any) -> Settings:
    """The settings of the environment, with the given fields (those that are not None) set by the command line."""
    given = {name: value for name, value in changes.items() if value is not None}
    return Settings(**given) if given else load_settings()


def progress_bar() -> Progress:
    """A progress bar with the time spent and left; silent where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=errors)
