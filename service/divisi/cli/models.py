"""`divisi models`: what there is to separate with, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from divisi.cli.terminal import exit_on_error, printable, progress_bar, say, settings_with, show_table

models = typer.Typer(help="List the models with their stems and measured quality; `pull` fetches more.")


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    server: Annotated[str | None, typer.Option(help="Address of a divisi server.")] = None,
) -> None:
    """List the models with their stems and measured quality.

    divisi models
    divisi models pull https://models.example/model_store/umss-satb/1.2.0
    """
    if context.invoked_subcommand:
        return
    from divisi.bundles.store import BundleStore
    from divisi.client import Client

    with exit_on_error():
        if server is None:
            cards = [card.model_dump(mode="json") for card in BundleStore(settings_with().model_store).list()]
        else:
            with Client(server) as client:
                cards = client.models()
    table = Table("model", "version", "stems", "quality (mean over stems)", "real-time factor", "title")
    for card in cards:
        quality = "\n".join(f"{q['mean']:.1f} {q['metric']}, {q['test_set']}" for q in card["quality"][:1])
        speed = "\n".join(f"{s['real_time_factor']:.3f} {s['engine']}" for s in card["speed"][:1])
        title = printable(card["title"]) + _missing(card)
        table.add_row(card["id"], card["version"], ", ".join(card["stems"]), quality, speed, title)
    show_table(table)


@models.command()
def pull(
    url: Annotated[str, typer.Argument(help="Address of a bundle's folder: …/<model>/<version>.")],
    store: Annotated[
        Path | None, typer.Option(help="Model store to put it into; default: DIVISI_MODEL_STORE, ./model_store.")
    ] = None,
) -> None:
    """Fetch a model from a server that holds it, checked file by file.

    Fetch from those you trust: a model is a program that will run here.
    """
    from divisi.bundles.pull import pull_bundle

    with exit_on_error(), progress_bar() as progress:
        task = progress.add_task(printable(url), total=None)
        bundle = pull_bundle(url, store or settings_with().model_store, lambda n: progress.advance(task, n))
    say(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")


def _missing(card: dict[str, Any]) -> str:
    """What keeps the model from running, where something does."""
    from divisi.engines.engine import can_fit

    if "is_offered" in card:
        return "\n(no worker at work can run it)" if card["is_offered"] is False else ""
    return "\n(needs the extra torch)" if card.get("fitting") and not can_fit() else ""
