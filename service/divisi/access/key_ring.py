"""API keys: made, listed, revoked, recognised; and the secrets that sign webhooks, sealed where they rest.

Redis holds a hash of each key's secret, never the secret. A key is shown once, as `dv_<id>_<secret>`. Its secret has
256 random bits, so a plain SHA-256 guards it as well as any slow hash would, at the cost of microseconds a request.
There is no cache: a revoked key is refused at the next request.

What signs the webhooks of a key's jobs, or of one job, is needed again. Its seal is AES-256-GCM, bound to the job or
the API key whose secret it is, under a key that is derived from the deployment's secret for this alone. Whoever can
read the store, a backup of it or a listing of jobs cannot sign webhooks; whoever can also read that secret can.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from divisi.contract.errors import AccessError, InputError, NotFoundError
from divisi.queue.redis_door import RedisDoor

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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


WEBHOOK_SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
# No secret of Standard Webhooks begins so; those of version 0.1 lie as they came.
_PREFIX = "sealed-1:"
_SEALS = b"divisi webhook secrets v1"
_NONCE_BYTES = 12


def new_webhook_secret() -> str:
    """A secret in the form of Standard Webhooks."""
    return WEBHOOK_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_webhook_secret(secret: str) -> None:
    """InputError (`invalid-webhook-secret`) for what is no secret in the form of Standard Webhooks."""
    prefix, text = secret[: len(WEBHOOK_SECRET_PREFIX)], secret[len(WEBHOOK_SECRET_PREFIX) :]
    try:
        is_fit = prefix == WEBHOOK_SECRET_PREFIX and len(base64.b64decode(text, validate=True)) in SECRET_BYTES
    except (binascii.Error, ValueError):
        is_fit = False
    if not is_fit:
        raise InputError(
            f"webhook_secret must be `{WEBHOOK_SECRET_PREFIX}` and {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} "
            "bytes in base64",
            code="invalid-webhook-secret",
        )


class SealError(Exception):
    """The seal is another deployment secret's, or broken; the message is for the log of deliveries."""


def seal(secret: str, holder: str, deployment_secret: bytes) -> str:
    """A webhook secret in a form that may be stored; `holder` is a job's id, or the owner `key:<id>`."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(deployment_secret).encrypt(nonce, secret.encode(), holder.encode())
    return _PREFIX + base64.b64encode(nonce + sealed).decode()


def unseal(stored: str, holder: str, deployment_secret: bytes) -> str:
    """The secret that was sealed for this holder; what version 0.1 stored in clear as it is.

    Raises:
        SealError: it cannot be opened.
    """
    if not stored.startswith(_PREFIX):
        return stored
    from cryptography.exceptions import InvalidTag

    try:
        sealed = base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
        opened = _cipher(deployment_secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], holder.encode())
    except (binascii.Error, InvalidTag, ValueError) as error:
        raise SealError("the webhook secret was sealed under another signing secret (DIVISI_SIGNING_SECRET)") from error
    return opened.decode()


def _cipher(deployment_secret: bytes) -> AESGCM:
    # Of the gateway's extra: workers, which import this room too, seal nothing.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(hmac.digest(deployment_secret, _SEALS, hashlib.sha256))
