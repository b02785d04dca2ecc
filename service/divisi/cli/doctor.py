"""`divisi doctor`: examines the deployment that the settings describe, and says what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from divisi.bootstrap import open_bundles, open_door, open_store
from divisi.cli.queue import Data, settings_of
from divisi.cli.terminal import EXIT_FAILED, exit_on_error, printable, show_table
from divisi.doctor.finding import Finding, Verdict
from divisi.settings import Settings

_MARKS = {
    Verdict.GOOD: Text("good", style="green"),
    Verdict.DOUBTFUL: Text("doubtful", style="yellow"),
    Verdict.BAD: Text("bad", style="bold red"),
}


def doctor(
    data: Data = None,
    without_models: Annotated[
        bool, typer.Option("--without-models", help="Leave models and engine out: this machine runs a gateway only.")
    ] = False,
) -> None:
    """Examine Redis, object store, models, engine, disk, clocks and versions; say what to do. Exits with 1 on a fault.

    Run it where a gateway or worker runs, with the same settings.
    """
    with exit_on_error():
        findings = asyncio.run(_examine(settings_of(data), without_models=without_models))
    table = Table("", "subject", "finding, and what to do")
    for finding in findings:
        said = Text(printable(finding.what))
        if finding.remedy:
            said.append(f"\n→ {printable(finding.remedy)}", style="bold")
        table.add_row(_MARKS[finding.verdict], finding.subject, said)
    show_table(table)
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(EXIT_FAILED)


async def _examine(settings: Settings, *, without_models: bool) -> list[Finding]:
    from divisi.doctor.machine import examine_machine
    from divisi.doctor.models import examine_models
    from divisi.doctor.queue import examine_queue
    from divisi.doctor.store import examine_store

    door = open_door(settings)
    try:
        findings = await examine_queue(door)
    finally:
        await door.close()
    findings += await examine_store(lambda: open_store(settings), settings)
    if not without_models:
        findings += examine_models(settings, open_bundles(settings))
    return findings + examine_machine(settings)
