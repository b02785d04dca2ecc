"""`divisi jobs`: what a server works on and has done."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from divisi.cli.terminal import console, exit_on_error, printable, say, settings_with, show_table

DEFAULT_SERVER = "http://127.0.0.1:8000"
ID_LENGTH = 26
_WIDE = 110  # columns of a terminal with room for a second id


def jobs(
    server: Annotated[str, typer.Option(help="Address of a divisi server.")] = DEFAULT_SERVER,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    cancel: Annotated[str | None, typer.Option(help="Cancel the job with this id instead.")] = None,
) -> None:
    """List a server's jobs, newest first; or cancel one."""
    from divisi.client import Client

    key = settings_with().api_key
    with exit_on_error(), Client(server, api_key=key.get_secret_value() if key else None) as client:
        if cancel is not None:
            client.cancel(cancel)
            say(f"cancelled {cancel}")
            return
        found = client.jobs(limit=limit)["jobs"]
        if not found:
            say("no jobs yet; divisi separate --server or divisi compare make some")
            return
        # Ids are whole on any terminal: they are what one cancels, and the last part of a comparison's address.
        has_groups = console.width >= _WIDE
        columns: list[Column | str] = [
            Column("job", min_width=ID_LENGTH),
            "state",
            "%",
            "model",
            Column("recording", overflow="fold"),
        ]
        table = Table(*columns, *([Column("group", min_width=ID_LENGTH)] if has_groups else []), box=None)
        for job in found:
            cells = [job["id"], job["state"], f"{100 * job['progress']:.0f}", job["model"], printable(job["file_name"])]
            table.add_row(*cells, *([job["group"] or ""] if has_groups else []))
        show_table(table)
