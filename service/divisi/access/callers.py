"""Who calls, what a key or a signed link opens for them, and how much of the service they may use.

A caller is named by the `owner` that jobs carry: `key:<id>`, or `address:<ip>` where no keys are asked for. The gateway
asks before each route (`gateway/dependencies.py`). Of a day's uploads a caller has a share: asked for before an upload,
taken with it, returned if nothing comes of it. One Lua script for each question.

A signed link opens one path with one query for some time, for whoever holds it: an HMAC over these and the expiry.
Object stores that sign links themselves do so; this is for what the gateway serves, whatever store is behind it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from divisi.access.key_ring import ApiKey, Scope
from divisi.contract.errors import AccessError, LimitError, UnavailableError
from divisi.contract.files import LINKABLE_PATHS
from divisi.queue.redis_door import RedisDoor

READING_METHODS = frozenset({"GET", "HEAD"})
WINDOW_SECONDS = 60
# What a signed link may open, by the part of the path after the job's id.
LINKABLE = LINKABLE_PATHS | {"shared", "rehearsal", "tracks", "tracks.zip"}
EXPIRES, SIGNATURE = "expires", "signature"
# Keeps these signatures apart from any other use of the same secret.
_LINKS = b"divisi link v1"
_TIME = re.compile(r"[0-9]{1,12}")
# One household has one IPv6 network of this length, and as many addresses in it as it likes.
_IPV6_PREFIX = 64


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Args:
        owner: name that jobs and limits carry, `key:<id>` or `address:<ip>`; None: callers are not distinguished.
        key: the key that was shown.
        sees_all: False: only jobs of the same owner.
    """

    owner: str | None
    key: ApiKey | None = None
    sees_all: bool = True

    @property
    def sees_only(self) -> str | None:
        """The owner whose jobs alone are seen; None: everybody's."""
        return None if self.sees_all else self.owner


def scope_of(method: str, template: str) -> Scope | None:
    """What a key needs for a route, given by its template; None: any key will do."""
    if template == "/metrics":
        return Scope.METRICS
    if not template.startswith(("/v1/jobs", "/v1/groups")):
        return None
    # A link to share opens no more than its maker may read.
    is_reading = method in READING_METHODS or template.endswith("/links")
    return Scope.JOBS_READ if is_reading else Scope.JOBS_WRITE


def owner_at(host: str) -> str:
    """`address:<ip>` for the client at that address; one name for all of an IPv6 network."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "address:unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return f"address:{address.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((address, _IPV6_PREFIX), strict=False).network_address}"
    return f"address:{address}"


def is_linkable(template: str) -> bool:
    """True when signed links to this route, given by its template or a path of it, are honoured."""
    parts = template.split("/")
    return len(parts) > 4 and parts[4] in LINKABLE


@dataclass(frozen=True)
class Link:
    """What a link opens: a path, percent-decoded, and the query without expiry and signature, in order."""

    path: str
    query: tuple[tuple[str, str], ...] = ()


def sign_link(link: Link, expires_at: int, secret: bytes) -> str:
    """Path and query with what opens them until `expires_at` (Unix seconds)."""
    signed = {EXPIRES: str(expires_at), SIGNATURE: _signature(link, str(expires_at), secret)}
    return f"{quote(link.path)}?{urlencode([*link.query, *signed.items()])}"


@dataclass(frozen=True)
class Links:
    """Makes links below `root` that open until `expires_at` (Unix seconds)."""

    root: str
    expires_at: int
    secret: bytes

    def to(self, path: str, query: str = "") -> str:
        # Signed is the path that the gateway sees, so that the link opens behind a proxy and beside it.
        return self.root + sign_link(Link(path, tuple(parse_qsl(query))), self.expires_at, self.secret)


def check_link(link: Link, expires: str, signature: str, secret: bytes) -> None:
    """Returns when the link is ours and still open.

    Args:
        link: as asked for.
        expires, signature: values of the query as they came.

    Raises:
        AccessError: somebody else made or changed it (`link-invalid`), or its time is over (`link-expired`).
    """
    is_ours = hmac.compare_digest(_signature(link, expires, secret).encode(), signature.encode(errors="surrogatepass"))
    if not is_ours or not _TIME.fullmatch(expires):
        raise AccessError("this link was not made here, or has been changed", code="link-invalid")
    if int(expires) <= time.time():
        raise AccessError("the time of this link is over; ask for a new one", code="link-expired")


def _signature(link: Link, expires: str, secret: bytes) -> str:
    # Without a query as version 0.1 signed it. A time holds no line break, nor does an encoded query: no two links
    # that pass for ours have one text.
    query = urlencode(link.query, errors="surrogatepass")
    text = b"\n".join(part.encode(errors="surrogatepass") for part in (link.path, expires, *filter(None, [query])))
    text = _LINKS + b"\n" + text
    return base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).decode().rstrip("=")


@dataclass(frozen=True)
class Allowance:
    """What is left of a sliding window. `reset_seconds`: until the oldest request leaves it and makes room."""

    is_admitted: bool
    remaining: int
    reset_seconds: int


@dataclass(frozen=True)
class UploadQuota:
    """What one caller may upload in 24 hours; 0: no limit."""

    num_bytes: int
    audio_seconds: float


@dataclass
class Share:
    """What an upload took of its caller's day; returned unless it is kept."""

    is_kept: bool = False


class Limits:
    """Counts what callers use."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def admit_request(self, owner: str, limit: int) -> Allowance:
        """Counts one request within the last minute, unless there have been `limit` of them."""
        admitted, remaining, reset_ms = await self.door.run("admit", owner, WINDOW_SECONDS * 1000, limit)
        return Allowance(admitted == 1, remaining, math.ceil(reset_ms / 1000))

    async def spend_upload(self, owner: str, quota: UploadQuota, num_bytes: int = 0, audio_seconds: float = 0) -> None:
        """Takes an upload off the owner's quota; negative amounts return it, none asks whether anything is left.

        Raises:
            LimitError: the quota does not suffice (`upload-quota-used-up`); nothing was taken.
        """
        what, wait_ms = await self.door.run(
            "spend",
            owner,
            num_bytes,
            round(audio_seconds * 1000),
            quota.num_bytes,
            round(quota.audio_seconds * 1000),
        )
        if what == "ok":
            return
        limit = f"{quota.num_bytes} bytes" if what == "bytes" else f"{quota.audio_seconds:g} s of audio"
        raise LimitError(
            f"this caller may upload {limit} in 24 hours, and not so much of it is left",
            code="upload-quota-used-up",
            violated=f"upload-{what}",
            retry_after_seconds=math.ceil(wait_ms / 1000),
        )

    @asynccontextmanager
    async def upload_spent(
        self, owner: str | None, quota: UploadQuota, num_bytes: int, audio_seconds: float
    ) -> AsyncIterator[Share]:
        """Takes an upload off the owner's day; returns it when nothing new came of it.

        Raises:
            LimitError: `upload-quota-used-up`.
        """
        share = Share()
        if owner is None:
            yield share
            return
        await self.spend_upload(owner, quota, num_bytes, audio_seconds)
        try:
            yield share
        finally:
            if not share.is_kept:
                with suppress(UnavailableError):  # the day ends by itself
                    await asyncio.shield(self.spend_upload(owner, quota, -num_bytes, -audio_seconds))
