"""Puts the commands together. Exit codes: 0 done, 1 failed, 2 input that cannot be taken."""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

import typer

from divisi.cli.agents import mcp
from divisi.cli.compare import compare
from divisi.cli.separate import separate
from divisi.cli.server import jobs, models
from divisi.cli.terminal import of_this_machine
from divisi.cli.tracks import rehearsal, tracks
from divisi.cli.watch import watch

_IS_CLIENT_ALONE = find_spec("divisi.machine") is None
_HELP = """**divisi** separates a recording of a choir or an ensemble: one file in, one stem per voice out.

"""
_HOW_TO_BEGIN = """Try `divisi separate choir.wav -o stems` (no server needed), or `divisi up` and a browser or `curl`.
Every setting is an environment variable `DIVISI_…`; the README lists them."""
_HOW_A_CLIENT_BEGINS = """Try `divisi separate choir.wav -o stems --server https://divisi.example`.
The key of a server that asks for one is the environment variable `DIVISI_API_KEY`."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help=_HELP + (_HOW_A_CLIENT_BEGINS if _IS_CLIENT_ALONE else _HOW_TO_BEGIN),
)
for command in (separate, watch, tracks, rehearsal, compare, jobs, mcp):
    app.command()(command)
app.add_typer(models, name="models")
if not _IS_CLIENT_ALONE:
    for module in ("service", "deployment"):
        app.add_typer(of_this_machine(module).commands)
    of_this_machine("separation")  # adds `pull` to `divisi models`
# Commands that other distributions bring, such as those of the workshop: `divisi train`, `evaluate`, `export`.
for brought in entry_points(group="divisi.commands"):
    app.command(brought.name)(brought.load())


def main() -> None:
    """Entry point of the `divisi` command."""
    # A name that the terminal's encoding does not have must not end a run: it is shown with replacement characters.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
