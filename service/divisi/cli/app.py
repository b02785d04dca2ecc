"""Puts the commands together. Exit codes: 0 done, 1 failed, 2 input that cannot be taken."""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points

import typer

from divisi.cli import compare, dead, doctor, jobs, keys, models, separate, service, top

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="""**divisi** separates a recording of a choir or an ensemble: one file in, one stem per voice out.

    Try `divisi separate choir.wav -o stems` (no server needed), or `divisi up` and a browser or `curl`.
    Every setting is an environment variable `DIVISI_…`; the README lists them.""",
)
for command in (
    separate.separate,
    compare.compare,
    jobs.jobs,
    service.up,
    service.demo,
    service.gateway,
    service.worker,
    top.top,
    doctor.doctor,
):
    app.command()(command)
# Commands that other distributions bring, such as those of the workshop: `divisi train`, `evaluate`, `export`.
for brought in entry_points(group="divisi.commands"):
    app.command(brought.name)(brought.load())
app.add_typer(models.models, name="models")
app.add_typer(keys.keys, name="keys")
app.add_typer(dead.dead, name="dead")


def main() -> None:
    """Entry point of the `divisi` command."""
    # A name that the terminal's encoding does not have must not end a run: it is shown with replacement characters.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
