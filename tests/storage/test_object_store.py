from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from divisi.contract.errors import UnavailableError
from divisi.storage.object_store import open_object_store

pytestmark = pytest.mark.anyio


async def test_a_store_that_hangs_is_away_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    store = open_object_store(f"file://{tmp_path}")
    monkeypatch.setattr("divisi.timing.ANSWER_SECONDS", 0.1)
    for name in ("get", "head", "delete"):
        monkeypatch.setattr(f"obstore.{name}_async", hang)
    for call in (store.get_bytes("a"), store.head("a"), store.delete("a"), store.ping()):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.code == "store-unavailable"
    assert store.failures == {"get": 1, "head": 2, "delete": 1}
