"""`divisi jobs`: what a server works on and has done."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from divisi.cli.terminal import console, exit_on_error, settings_with

DEFAULT_SERVER = "http://127.0.0.1:8000"


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
            console.print(f"cancelled {cancel}")
            return
        table = Table("job", "state", "%", "model", "recording", "group", box=None)
        for job in client.jobs(limit=limit)["jobs"]:
            progress = f"{100 * job['progress']:.0f}"
            table.add_row(job["id"], job["state"], progress, job["model"], job["file_name"], job["group"] or "")
        console.print(table)
