"""`divisi models`: what there is to separate with, and how good it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from divisi.cli.terminal import exit_on_error, printable, settings_with, show_table


def models(server: Annotated[str | None, typer.Option(help="Address of a divisi server.")] = None) -> None:
    """List the models with their stems and measured quality."""
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


def _missing(card: dict[str, Any]) -> str:
    """What keeps the model from running, where something does."""
    from divisi.engines.engine import can_fit

    if "is_offered" in card:
        return "\n(no worker at work can run it)" if card["is_offered"] is False else ""
    return "\n(needs the extra torch)" if card.get("fitting") and not can_fit() else ""
