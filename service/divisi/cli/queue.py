"""What the commands that look into a deployment's queue share: which Redis, and how to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from divisi.bootstrap import open_door
from divisi.cli.terminal import exit_on_error, settings_with
from divisi.door.redis_door import RedisDoor
from divisi.settings import Settings

T = TypeVar("T")

Data = Annotated[
    Path | None, typer.Option(help="Data folder of a running `divisi up`; default: the Redis of the settings.")
]


def settings_of(data: Path | None) -> Settings:
    """The settings, with the Redis and the store of a running `divisi up` where one is named."""
    if data is None:
        return settings_with()
    from divisi.standalone import redis_url_of

    return settings_with(redis_url=redis_url_of(data), store_url=f"file://{(data / 'store').resolve()}")


def with_door(data: Path | None, act: Callable[[RedisDoor], Awaitable[T]]) -> T:
    """What `act` gives, asked of the deployment's Redis; our errors end the command."""

    async def run() -> T:
        door = open_door(settings_of(data))
        try:
            return await act(door)
        finally:
            await door.close()

    with exit_on_error():
        return asyncio.run(run())
