"""API keys: made, listed, revoked, recognised. Redis holds a hash of each secret, never the secret.

A key is shown once, as `dv_<id>_<secret>`. Its secret has 256 random bits, so a plain SHA-256 guards it as well as any
slow hash would, at the cost of microseconds a request. There is no cache: a revoked key is refused at the next request.
The secret that signs a key's webhooks is needed again, so it rests sealed (`signing.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

from divisi.access.signing import new_webhook_secret, seal, unseal
from divisi.contract.errors import AccessError, NotFoundError
from divisi.queue.redis_door import RedisDoor

KEY_ID_LENGTH = 16
TOKEN = re.compile(rf"dv_([0-9a-f]{{{KEY_ID_LENGTH}}})_([0-9a-f]{{64}})")
# The time of last use is for people; writing it at each request would be waste.
_USE_NOTED_SECONDS = 60.0
_NO_DIGEST = "0" * 64


class Scope(StrEnum):
    """What a key may do."""

    JOBS_READ = "jobs:read"  # look at, listen to, download its own jobs
    JOBS_WRITE = "jobs:write"  # submit, cancel, erase its own jobs
    METRICS = "metrics"  # scrape /metrics
    ADMIN = "admin"  # everything, and everybody's jobs


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key. Times are Unix seconds."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None

    def allows(self, scope: Scope) -> bool:
        """True when the key has the scope, or is an administrator's."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def has_expired(self, now: float | None = None) -> bool:
        """True from its expiry on."""
        return self.expires_at is not None and self.expires_at <= (time.time() if now is None else now)


@dataclass(frozen=True)
class NewKey:
    """A key just made, the text that its holder shows, and what signs the webhooks of its jobs; both are shown once."""

    key: ApiKey
    token: str = field(repr=False)
    webhook_secret: str = field(repr=False)


class KeyRing:
    """The deployment's keys.

    Args:
        signing_secret: `Settings.signing_secret`; whoever makes keys needs the same one as the gateways.
    """

    def __init__(self, door: RedisDoor, signing_secret: SecretStr | None) -> None:
        self.door = door
        self._signing_secret = signing_secret

    async def create_key(self, name: str, scopes: Iterable[Scope], expires_at: float | None = None) -> NewKey:
        """Makes a key; it works at once."""
        key_id, secret = secrets.token_hex(KEY_ID_LENGTH // 2), secrets.token_hex(32)
        key, webhook_secret = ApiKey(key_id, name, frozenset(scopes), time.time(), expires_at), new_webhook_secret()
        values: dict[Any, Any] = {
            "name": name,
            "digest": _digest(secret),
            "scopes": " ".join(sorted(key.scopes)),
            "created_at": f"{key.created_at:.0f}",
            "webhook_secret": seal(webhook_secret, _holder(key_id), await self.deployment_secret()),
        }
        if expires_at is not None:
            values["expires_at"] = f"{expires_at:.0f}"
        pipe = self.door.redis.pipeline(transaction=True)
        pipe.hset(self.door.key("key", key_id), mapping=values)
        pipe.zadd(self.door.key("keys"), {key_id: 0})
        await self.door.ask(pipe.execute())
        return NewKey(key, f"dv_{key_id}_{secret}", webhook_secret)

    async def keys(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first; expired ones among them."""
        used = await self.door.ask(self.door.redis.zrange(self.door.key("keys"), 0, -1, withscores=True))
        found = [await self._look(key_id, last_used_at) for key_id, last_used_at in used]
        return tuple(sorted((key for key, _ in filter(None, found)), key=lambda key: key.created_at))

    async def revoke_key(self, key_id: str) -> None:
        """Ends a key: the next request with it is refused.

        Raises:
            NotFoundError: no such key (`unknown-key`).
        """
        pipe = self.door.redis.pipeline(transaction=True)
        pipe.delete(self.door.key("key", key_id))
        pipe.zrem(self.door.key("keys"), key_id)
        deleted, _ = await self.door.ask(pipe.execute())
        if not deleted:
            raise NotFoundError(f"there is no key {key_id!r}", code="unknown-key")

    async def recognise(self, token: str) -> ApiKey:
        """The key that a caller shows, and notes its use.

        Raises:
            AccessError: no key of ours, or revoked (`key-invalid`); past its time (`key-expired`).
        """
        shape = TOKEN.fullmatch(token)
        key_id, secret = shape.groups() if shape else ("", "")
        last_used_at = await self.door.ask(self.door.redis.zscore(self.door.key("keys"), key_id))
        found = await self._look(key_id, last_used_at or 0.0)
        digest = found[1] if found else _NO_DIGEST
        if not hmac.compare_digest(digest, _digest(secret)) or found is None:
            raise AccessError("this API key is not known here, or has been revoked", code="key-invalid")
        key = found[0]
        now = time.time()
        if key.has_expired(now):
            raise AccessError("this API key has expired", code="key-expired")
        if now - (key.last_used_at or 0.0) > _USE_NOTED_SECONDS:
            await self.door.ask(self.door.redis.zadd(self.door.key("keys"), {key_id: int(now)}, xx=True))
        return key

    async def webhook_secret(self, key_id: str) -> str | None:
        """What signs the webhooks of a key's jobs; None when the key was revoked.

        Raises:
            SealError: it was sealed under another signing secret.
        """
        sealed = await self.door.ask(self.door.redis.hget(self.door.key("key", key_id), "webhook_secret"))
        return unseal(sealed, _holder(key_id), await self.deployment_secret()) if sealed else None

    async def deployment_secret(self) -> bytes:
        """What signs links and seals webhook secrets: of the settings, else one that all gateways share through Redis,
        made when first asked for.
        """
        if self._signing_secret is not None:
            return hashlib.sha256(self._signing_secret.get_secret_value().encode()).digest()
        await self.door.ask(self.door.redis.set(self.door.key("link-secret"), secrets.token_hex(32), nx=True))
        return bytes.fromhex(await self.door.ask(self.door.redis.get(self.door.key("link-secret"))))

    async def _look(self, key_id: str, last_used_at: float) -> tuple[ApiKey, str] | None:
        """A key and the digest of its secret."""
        values: Mapping[str, str] = await self.door.ask(self.door.redis.hgetall(self.door.key("key", key_id)))
        if not values:
            return None
        key = ApiKey(
            key_id,
            values["name"],
            frozenset(Scope(scope) for scope in values["scopes"].split()),
            float(values["created_at"]),
            float(values["expires_at"]) if "expires_at" in values else None,
            last_used_at or None,
        )
        return key, values["digest"]


def _holder(key_id: str) -> str:
    """What a key's seal is bound to, and its jobs are owned by."""
    return f"key:{key_id}"


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
