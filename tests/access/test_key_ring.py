"""API keys in Redis: shown once, hashed at rest, gone at once."""

from __future__ import annotations

import time

import pytest
import redis
from pydantic import SecretStr

from divisi.access.key_ring import WEBHOOK_SECRET_PREFIX, ApiKey, KeyRing, Scope, SealError, new_webhook_secret
from divisi.contract.errors import AccessError, NotFoundError
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor

pytestmark = pytest.mark.anyio
READ = {Scope.JOBS_READ}
SIGNING_SECRET = SecretStr("one of ours")


async def test_a_key_is_recognised_by_the_text_that_was_shown_once(queue: JobQueue) -> None:
    ring = KeyRing(queue.door, None)
    made = await ring.create_key("choir app", {Scope.JOBS_READ, Scope.JOBS_WRITE})
    seen = await ring.recognise(made.token)
    assert (seen.key_id, seen.name, seen.scopes) == (made.key.key_id, "choir app", made.key.scopes)
    assert made.token not in repr(made)


async def test_redis_holds_no_secret_that_opens_or_signs_anything(queue: JobQueue, raw: redis.Redis) -> None:
    made = await KeyRing(queue.door, SIGNING_SECRET).create_key("app", READ)
    secrets = (made.token.rsplit("_", 1)[1], made.webhook_secret.removeprefix(WEBHOOK_SECRET_PREFIX))
    for key in raw.scan_iter():
        values = raw.hgetall(key).values() if raw.type(key) == "hash" else [raw.dump(key)]
        for secret in secrets:
            assert not any(secret in str(value) for value in values), key


@pytest.mark.parametrize("signing_secret", [SIGNING_SECRET, None])
async def test_the_webhook_secret_of_a_key_is_the_one_that_was_shown(
    queue: JobQueue, signing_secret: SecretStr | None
) -> None:
    ring = KeyRing(queue.door, signing_secret)
    made = await ring.create_key("app", READ)
    assert await ring.webhook_secret(made.key.key_id) == made.webhook_secret
    assert made.webhook_secret not in repr(made)


async def test_another_signing_secret_does_not_open_the_webhook_secret(queue: JobQueue) -> None:
    made = await KeyRing(queue.door, SIGNING_SECRET).create_key("app", READ)
    for other in (SecretStr("another"), None):
        with pytest.raises(SealError, match="DIVISI_SIGNING_SECRET"):
            await KeyRing(queue.door, other).webhook_secret(made.key.key_id)


async def test_the_seal_of_one_key_is_of_no_use_to_another(queue: JobQueue, raw: redis.Redis) -> None:
    ring = KeyRing(queue.door, SIGNING_SECRET)
    mine, theirs = [(await ring.create_key(name, READ)).key.key_id for name in ("mine", "theirs")]
    sealed = raw.hget(queue.door.key("key", theirs), "webhook_secret")
    raw.hset(queue.door.key("key", mine), "webhook_secret", sealed)
    with pytest.raises(SealError):
        await ring.webhook_secret(mine)


async def test_webhook_secrets_of_keys_of_version_0_1_are_read_as_they_lie(queue: JobQueue, raw: redis.Redis) -> None:
    ring = KeyRing(queue.door, SIGNING_SECRET)
    made, secret = await ring.create_key("app", READ), new_webhook_secret()
    raw.hset(queue.door.key("key", made.key.key_id), "webhook_secret", secret)
    assert await ring.webhook_secret(made.key.key_id) == secret
    assert (await ring.recognise(made.token)).key_id == made.key.key_id


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token[:3] + "0" * 16 + token[19:],
        lambda token: token + "\n",
        lambda token: token.replace("dv_", "dx_"),
        lambda _: "dv_",
        lambda _: "",
    ],
)
async def test_any_other_text_is_refused(queue: JobQueue, spoil) -> None:
    ring = KeyRing(queue.door, None)
    made = await ring.create_key("app", READ)
    with pytest.raises(AccessError) as refusal:
        await ring.recognise(spoil(made.token))
    assert refusal.value.code == "key-invalid"


async def test_a_revoked_key_is_refused_at_once_and_cannot_come_back_by_being_used(queue: JobQueue) -> None:
    ring = KeyRing(queue.door, None)
    made = await ring.create_key("app", READ)
    await ring.recognise(made.token)
    await ring.revoke_key(made.key.key_id)
    for _ in range(2):
        with pytest.raises(AccessError, match="revoked"):
            await ring.recognise(made.token)
    assert await ring.keys() == ()
    assert await ring.webhook_secret(made.key.key_id) is None
    with pytest.raises(NotFoundError):
        await ring.revoke_key(made.key.key_id)


async def test_a_key_past_its_time_is_refused_and_still_listed(queue: JobQueue) -> None:
    ring = KeyRing(queue.door, None)
    made = await ring.create_key("guest", READ, expires_at=time.time() - 1)
    with pytest.raises(AccessError) as refusal:
        await ring.recognise(made.token)
    assert refusal.value.code == "key-expired"
    [listed] = await ring.keys()
    assert listed.has_expired()


async def test_the_list_tells_when_a_key_was_last_used(queue: JobQueue) -> None:
    ring = KeyRing(queue.door, None)
    made = await ring.create_key("app", READ)
    assert [key.last_used_at for key in await ring.keys()] == [None]
    before = time.time()
    await ring.recognise(made.token)
    [used] = await ring.keys()
    assert before - 1 <= used.last_used_at <= time.time() + 1


def test_an_administrators_key_may_do_everything() -> None:
    admin = ApiKey("1", "root", frozenset({Scope.ADMIN}), 0.0)
    reader = ApiKey("2", "reader", frozenset(READ), 0.0)
    assert all(admin.allows(scope) for scope in Scope)
    assert [scope for scope in Scope if reader.allows(scope)] == [Scope.JOBS_READ]


async def test_all_gateways_sign_links_with_one_secret(queue: JobQueue, redis_url: str) -> None:
    async with RedisDoor(redis_url) as door:
        other = JobQueue(door)
        first, second = KeyRing(other.door, None), KeyRing(queue.door, None)
        assert await first.deployment_secret() == await second.deployment_secret()
