"""A gateway that asks for keys, and callers with and without: shared by the tests of access."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from divisi.access.key_ring import KeyRing, NewKey, Scope
from divisi.gateway.app import create_app
from divisi.models.bundle import BundleStore
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore, open_object_store

BOTH = (Scope.JOBS_READ, Scope.JOBS_WRITE)


class KeyedGateway:
    """A running gateway with some settings changed."""

    def __init__(self, url: str, settings: Settings, store: ObjectStore) -> None:
        self.url = url
        self.settings = settings
        self.store = store

    def make_key(self, *scopes: Scope, name: str = "test", expires_at: float | None = None) -> NewKey:
        return self.ask(
            lambda queue: KeyRing(queue.door, self.settings.signing_secret).create_key(name, scopes, expires_at)
        )

    def revoke(self, key: NewKey) -> None:
        self.ask(lambda queue: KeyRing(queue.door, self.settings.signing_secret).revoke_key(key.key.key_id))

    def ask(self, act: Any) -> Any:
        """What a queue of our own answers."""

        async def run() -> Any:
            async with RedisDoor(self.settings.redis_url) as door:
                return await act(JobQueue(door))

        return asyncio.run(run())

    def caller(self, key: NewKey | None = None, **headers: str) -> httpx.Client:
        if key is not None:
            headers["Authorization"] = f"Bearer {key.token}"
        return httpx.Client(base_url=self.url, headers=headers)


@contextmanager
def keyed_gateway(settings: Settings, serve: Any, **changes: Any) -> Iterator[KeyedGateway]:
    """A gateway that requires keys unless the changes say otherwise."""
    changed = settings.model_copy(update={"require_keys": True} | changes)
    store = open_object_store(changed.store_url)
    app = create_app(changed, RedisDoor(changed.redis_url), store, BundleStore(changed.model_store))
    with serve(app) as served:
        yield KeyedGateway(served.url, changed, store)
