"""`divisi compare`: one recording, separated by a server with several models, voice by voice."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel
from rich.table import Column, Table

from divisi.cli.recordings import check_readable
from divisi.cli.request import with_options
from divisi.cli.server import DEFAULT_SERVER, Server, connect
from divisi.cli.terminal import (
    Json,
    console,
    errors,
    exit_on_error,
    printable,
    progress_bar,
    say,
    show_json,
    show_table,
)
from divisi.contract.errors import InputError
from divisi.contract.request import Offer

if TYPE_CHECKING:
    from divisi.client import Client, Comparison
    from divisi.client.records import System


class ComparisonOptions(BaseModel):
    """What is compared, and what becomes of it."""

    models: Annotated[str, Offer(("--models", "-m"), "Two model ids or more, comma-separated.")]
    out: Annotated[Path | None, Offer(("--out", "-o"), "Write stems to `OUT/<model>/`.")] = None
    reference: Annotated[
        list[str] | None, Offer(("--reference",), "True source to score against, as soprano=soprano.wav; repeat it.")
    ] = None
    export: Annotated[
        Path | None, Offer(("--export",), "Write the comparison as a folder that opens from disk, no server needed.")
    ] = None
    opens: Annotated[
        bool, Offer(("--open",), "Open the comparison in the browser; with --export the folder's page.")
    ] = False


@with_options(ComparisonOptions)
def compare(
    file: Annotated[Path, typer.Argument(help="The recording.")],
    *,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
    **asked: Any,
) -> None:
    """Separate FILE with several models and compare them, voice by voice.

    A server does it, a job for each model. The table has the SI-SDR of each voice where true sources are given; without
    them it says how sure the service is of each stem.

        divisi compare choir.wav --models satb-small,chorus --open
        divisi compare mix.wav -m a,b --reference soprano=s.wav --reference alto=a.wav -o stems
        divisi compare mix.wav -m a,b --export for-the-choir
    """
    options = ComparisonOptions(**asked)
    with exit_on_error(), connect(server) as client:
        sources = _references(options.reference or [])
        comparison = _compare(client, file, options, sources)
        address = f"{server.rstrip('/')}/#/groups/{comparison['group']}"
        if as_json:
            show_json(comparison)
        else:
            show_table(_table_of(comparison, has_sources=bool(sources)))
            say(f"listen: {address}")
        for system in comparison["systems"]:
            if options.out is not None and system["job"]["state"] == "succeeded":
                client.download_stems(system["job"], options.out / system["model"])
        if options.export is not None:
            page = client.export(comparison, options.export)
            say(f"or from disk: {page}", errors if as_json else console)
            address = page.resolve().as_uri()
        if options.opens:
            webbrowser.open(address)
        if failed := [system["model"] for system in comparison["systems"] if system["job"]["state"] != "succeeded"]:
            raise InputError(f"{', '.join(failed)} failed", code="job-failed")


def _compare(client: Client, file: Path, options: ComparisonOptions, sources: dict[str, Path]) -> Comparison:
    """Waits for all models; InputError for what is refused before anything is sent."""
    names = list(dict.fromkeys(name.strip() for name in options.models.split(",") if name.strip()))
    for path in (file, *sources.values()):
        check_readable(path)
    if len(names) < 2:
        raise InputError("a comparison takes two models or more", code="too-few-models")
    if options.export is not None and options.export.is_dir() and any(options.export.iterdir()):
        raise InputError(
            f"{options.export} holds files already; choose a new folder for the export", code="would-replace"
        )
    with progress_bar() as progress:
        task = progress.add_task(printable(file.name), total=1.0)
        show = partial(progress.update, task)
        return client.compare(file, names, references=sources, on_progress=lambda done: show(completed=done))


def _table_of(comparison: Comparison, *, has_sources: bool) -> Table:
    """A row for each model: SI-SDR in dB of each voice and their mean, else confidence in percent."""
    title = "SI-SDR, dB" if has_sources else "how sure the service is of each stem (no true source was given)"
    columns = [*comparison["voices"], *(["mean"] if has_sources else [])]
    table = Table(Column("model", no_wrap=True), *columns, title=title, title_justify="left", box=None)
    for system in comparison["systems"]:
        table.add_row(system["model"], *(_scores(system) if has_sources else _confidences(system)))
    return table


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
