"""`divisi compare`: one recording through several models of a server, as a table and on the page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from divisi.cli.jobs import DEFAULT_SERVER
from divisi.cli.terminal import exit_on_error, printable, progress_bar, say, settings_with, show_table
from divisi.contract.errors import InputError

if TYPE_CHECKING:
    from divisi.client.records import System


def compare(
    file: Annotated[Path, typer.Argument(help="The recording.")],
    models: Annotated[str, typer.Option("--models", "-m", help="Two model ids or more, comma-separated.")],
    server: Annotated[str, typer.Option(help="Address of a divisi server.")] = DEFAULT_SERVER,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write stems to `OUT/<model>/`.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="True source to score against, as soprano=soprano.wav; repeat it.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the comparison as a folder that opens from disk, no server needed.")
    ] = None,
    opens: Annotated[
        bool, typer.Option("--open", help="Open the comparison in the browser; with --export the folder's page.")
    ] = False,
) -> None:
    """Separate FILE with several models and compare them, voice by voice.

    A server does it, a job for each model. The table has the SI-SDR of each voice where true sources are given; without
    them it says how sure the service is of each stem.

        divisi compare choir.wav --models satb-small,chorus --open
        divisi compare mix.wav -m a,b --reference soprano=s.wav --reference alto=a.wav -o stems
        divisi compare mix.wav -m a,b --export for-the-choir
    """
    from divisi.client import Client

    names = list(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))
    key = settings_with().api_key
    with exit_on_error(), Client(server, api_key=key.get_secret_value() if key else None) as client:
        sources = _references(reference or [])
        for path in (file, *sources.values()):
            if not path.is_file():
                raise InputError(f"{path} is not a file", code="no-such-file")
        if len(names) < 2:
            raise InputError("a comparison takes two models or more", code="too-few-models")
        if export is not None and export.is_dir() and any(export.iterdir()):
            raise InputError(f"{export} holds files already; choose a new folder for the export", code="would-replace")
        with progress_bar() as progress:
            task = progress.add_task(printable(file.name), total=1.0)
            comparison = client.compare(
                file,
                names,
                references=sources,
                on_progress=lambda done: progress.update(task, completed=done),
            )
        title = "SI-SDR, dB" if sources else "how sure the service is of each stem (no true source was given)"
        columns = [*comparison["voices"], *(["mean"] if sources else [])]
        table = Table(Column("model", no_wrap=True), *columns, title=title, title_justify="left", box=None)
        for system in comparison["systems"]:
            table.add_row(system["model"], *(_scores(system) if sources else _confidences(system)))
        show_table(table)
        address = f"{server.rstrip('/')}/#/groups/{comparison['group']}"
        say(f"listen: {address}")
        for system in comparison["systems"]:
            if out is not None and system["job"]["state"] == "succeeded":
                client.download_stems(system["job"], out / system["model"])
        if export is not None:
            page = client.export(comparison, export)
            say(f"or from disk: {page}")
            address = page.resolve().as_uri()
        if opens:
            webbrowser.open(address)
        if failed := [system for system in comparison["systems"] if system["job"]["state"] != "succeeded"]:
            raise InputError(f"{', '.join(system['model'] for system in failed)} failed", code="job-failed")


def _scores(system: System) -> list[str]:
    """In dB of each voice, and their mean."""
    values = [*(cell["si_sdr_db"] for cell in system["cells"]), system["mean_si_sdr_db"]]
    return ["–" if value is None else f"{value:.1f}" for value in values]


def _confidences(system: System) -> list[str]:
    """In percent of each voice."""
    means = {one["stem"]: one["mean"] for one in system["job"]["confidence"]}
    values = [means.get(cell["voice"]) for cell in system["cells"]]
    return ["–" if value is None else f"{100 * value:.0f} %" for value in values]


def _references(texts: list[str]) -> dict[str, Path]:
    sources = {}
    for text in texts:
        stem, equals, path = text.partition("=")
        if not (stem and equals and path):
            raise InputError(f"{text!r} is no true source; write it as soprano=soprano.wav", code="invalid-reference")
        sources[stem] = Path(path)
    return sources
