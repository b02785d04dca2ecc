"""The workshop's commands where its distribution is not installed: `python -m divisi_workshop archive`."""

from __future__ import annotations

import typer

from divisi_workshop.commands import archive, evaluate, export, export_fitted, train

if __name__ == "__main__":
    app = typer.Typer(no_args_is_help=True)
    for command in (train, export, export_fitted, archive, evaluate):
        app.command()(command)
    app()
