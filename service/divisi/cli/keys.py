"""`divisi keys`: make, list and revoke the API keys of a deployment, in its Redis."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Column, Table

from divisi.access.key_ring import KEY_ID_LENGTH, KeyRing, Scope
from divisi.cli.queue import Data, with_door
from divisi.cli.terminal import errors, printable, say, show_table

SECONDS_A_DAY = 24 * 3600
DEFAULT_SCOPES = [Scope.JOBS_READ, Scope.JOBS_WRITE]

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will hold the key; for people.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat it.")] = DEFAULT_SCOPES,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; default: never.")] = None,
    data: Data = None,
) -> None:
    """Make a key and print it. It is shown this once: only a hash is kept."""
    expires_at = None if days is None else time.time() + days * SECONDS_A_DAY
    made = with_door(data, lambda door: KeyRing(door).create_key(name, scope, expires_at))
    say(f"key             {made.token}")
    say(f"webhook secret  {made.key.webhook_secret}")
    say(f"Key {made.key.key_id} for {name!r}; nobody can see these two lines again.", errors)


@keys.command(name="list")
def list_keys(data: Data = None) -> None:
    """List the keys: ids, names, scopes, and when they were last used."""
    # An id is there to be copied: never cut it short on a narrow terminal.
    table = Table(Column("id", min_width=KEY_ID_LENGTH), "name", "scopes", "created", "last used", "expires")
    for key in with_door(data, lambda door: KeyRing(door).keys()):
        expires = "expired" if key.has_expired() else _day(key.expires_at)
        table.add_row(
            key.key_id,
            printable(key.name),
            " ".join(sorted(key.scopes)),
            _day(key.created_at),
            _day(key.last_used_at),
            expires,
        )
    show_table(table)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id, as `divisi keys list` shows it.")], data: Data = None
) -> None:
    """End a key. The next request with it is refused."""
    with_door(data, lambda door: KeyRing(door).revoke_key(key_id))
    say(f"{key_id} is revoked")


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else "never"
