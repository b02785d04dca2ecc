"""What the commands share with the person at the terminal: consoles, errors as one line, progress bars.

Names of files are data: they are printed as they are, neither read as markup nor wrapped, and cannot drive the
terminal. So commands print through `say` and `show_table`, and make cells of tables and tasks of `printable` text.
"""

from __future__ import annotations

import errno
import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from divisi.contract.errors import DivisiError, InputError, NotFoundError

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
# Columns of a table in a file; more than any has.
_WIDEST = 100_000

# No markup, no emoji codes, no colours for what looks like a number: most of what is printed comes from outside.
_console = partial(Console, markup=False, emoji=False, highlight=False)
console = _console()
errors = _console(stderr=True)

# Besides control characters: what breaks lines, and what turns the direction of what follows.
_INVISIBLE = frozenset("\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object) -> str:
    """The text with control characters written out, as `\\n`, and with `\ufffd` for bytes that are no UTF-8."""
    return "".join(map(_printable, str(text)))


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return repr(character)[1:-1] if category == "Cc" or character in _INVISIBLE else character


def say(text: str, to: Console = console) -> None:
    """Prints one line, as it is and whole, however narrow the terminal."""
    to.print(Text(printable(text)), soft_wrap=True)


def show_table(rendered: RenderableType) -> None:
    """Prints a table; into a file or a pipe as wide as it wants to be: nothing is cut that a program may read."""
    if console.is_terminal:
        console.print(rendered)
    else:
        wide = _console(width=_WIDEST)
        wanted = Measurement.get(wide, wide.options, rendered).maximum
        _console(width=max(wanted, console.width)).print(rendered)


def show_json(content: object) -> None:
    """Prints what a program reads: JSON, whatever else would be shown to a person."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))


def remarks_on(path: Path, detected: Sequence[str], warnings: Sequence[str]) -> list[str]:
    """Whom `--voices auto` detected in a recording, and what to know before relying on its stems; a sentence each."""
    sentences = ([f"detected {', '.join(detected)}"] if detected else []) + [*warnings]
    return [f"{path.name}: {sentence}" for sentence in sentences]


def complain(message: str) -> None:
    """Prints an error as one line."""
    errors.print(Text.assemble(("error:", "red"), f" {printable(message)}"), soft_wrap=True)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turns our errors into one plain line and an exit code: 2 for bad input, 1 for the rest."""
    try:
        yield
    except (InputError, NotFoundError) as error:
        complain(error.message)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    except DivisiError as error:
        complain(error.message)
        raise typer.Exit(EXIT_FAILED) from error
    except ValidationError as error:
        if error.title != "Settings":
            raise  # not what somebody set, but a fault of ours
        for problem in error.errors():
            name = "_".join(["DIVISI", *map(str, problem["loc"])]).upper() + ": " if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            complain(f"{name}{message}")
        raise typer.Exit(EXIT_BAD_INPUT) from error
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise  # no file that somebody named, and no room that somebody can make
        where = "" if error.filename is None else f"{error.filename}: "
        complain(f"{where}{error.strerror}")
        raise typer.Exit(EXIT_FAILED) from error
    except ModuleNotFoundError as error:
        if error.name == "divisi.machine":
            complain(
                "this is divisi's client alone: name a server with --server, or `pip install 'divisi-choir[worker]'` "
                "to separate on this machine (README: what to install)"
            )
        else:
            complain(
                f"this command needs the package {error.name}; install its extra, "
                "such as `pip install 'divisi-choir[standalone]'` (README: what to install)"
            )
        raise typer.Exit(EXIT_FAILED) from error


def progress_bar() -> Progress:
    """A progress bar with the time spent and left; silent where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=errors, disable=not errors.is_terminal)


def of_this_machine(name: str) -> ModuleType:
    """A module of `divisi.machine`, named as text, so that no import leads there.

    Raises:
        ModuleNotFoundError: the client alone is installed.
    """
    return import_module(f"divisi.machine.{name}")
