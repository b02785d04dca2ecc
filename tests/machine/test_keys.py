"""`divisi keys` as an operator types it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from divisi.access.key_ring import ApiKey, KeyRing, Scope
from divisi.cli.app import app
from divisi.queue.redis_door import RedisDoor
from divisi.settings import load_settings
from divisi.standalone import REDIS_URL_FILE

Keys = Callable[..., Result]


@pytest.fixture
def keys(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    """Runs `divisi keys …` against an empty Redis."""
    monkeypatch.setenv("DIVISI_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    load_settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, ["keys", *map(str, arguments)])
    load_settings.cache_clear()


def ask(redis_url: str, act: Any) -> Any:
    async def run() -> Any:
        async with RedisDoor(redis_url) as door:
            return await act(door)

    return asyncio.run(run())


def token_of(result: Result) -> str:
    return re.search(r"^key +(\S+)$", result.stdout, re.MULTILINE)[1]


def test_a_key_is_made_shown_once_and_works(keys: Keys, redis_url: str) -> None:
    made = keys("create", "choir app")
    assert made.exit_code == 0, made.output
    key: ApiKey = ask(redis_url, lambda door: KeyRing(door, None).recognise(token_of(made)))
    assert (key.name, key.scopes) == ("choir app", {Scope.JOBS_READ, Scope.JOBS_WRITE})
    webhook_secret = ask(redis_url, lambda door: KeyRing(door, None).webhook_secret(key.key_id))
    assert webhook_secret in made.stdout
    listed = keys("list")
    assert key.key_id in listed.stdout
    assert token_of(made) not in listed.stdout
    assert webhook_secret not in listed.stdout


def test_scopes_and_an_end_can_be_chosen(keys: Keys, redis_url: str) -> None:
    keys("create", "prometheus", "--scope", "metrics", "--days", "30")
    [key] = ask(redis_url, lambda door: KeyRing(door, None).keys())
    assert key.scopes == {Scope.METRICS}
    assert key.expires_at - key.created_at == pytest.approx(30 * 24 * 3600, abs=2)


def test_a_scope_that_there_is_not_makes_no_key(keys: Keys, redis_url: str) -> None:
    refused = keys("create", "app", "--scope", "everything")
    assert refused.exit_code == 2
    assert ask(redis_url, lambda door: KeyRing(door, None).keys()) == ()


def test_a_revoked_key_is_gone_and_cannot_be_revoked_again(keys: Keys, redis_url: str) -> None:
    key_id = token_of(keys("create", "app")).split("_")[1]
    assert keys("revoke", key_id).exit_code == 0
    assert key_id not in keys("list").stdout
    again = keys("revoke", key_id)
    assert again.exit_code == 2
    assert "there is no key" in again.stderr


def test_the_keys_of_a_running_machine_are_found_by_its_data_folder(keys: Keys, redis_url: str, tmp_path: Path) -> None:
    missing = keys("list", "--data", tmp_path)
    assert missing.exit_code == 1
    assert "no divisi runs on" in missing.stderr
    (tmp_path / REDIS_URL_FILE).write_text(redis_url)
    assert keys("create", "app", "--data", tmp_path).exit_code == 0
    assert len(ask(redis_url, lambda door: KeyRing(door, None).keys())) == 1
