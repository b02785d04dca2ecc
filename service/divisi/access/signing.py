"""What the deployment's secret does: it signs links, and seals webhook secrets where they rest.

A signed link opens one path with one query for some time, for whoever holds it: an HMAC over these and the expiry.
Object stores that sign links themselves do so; this is for what the gateway serves, whatever store is behind it.

A seal is AES-256-GCM, bound to the job or the API key whose secret it is, under a key that is derived for this alone.
Whoever can read the store, a backup of it or a listing of jobs cannot sign webhooks; whoever can also read the
deployment's secret can.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from divisi.contract.errors import AccessError, InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

EXPIRES, SIGNATURE = "expires", "signature"
# Keeps these signatures apart from any other use of the same secret.
_LINKS = b"divisi link v1"
_TIME = re.compile(r"[0-9]{1,12}")
WEBHOOK_SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
# No secret of Standard Webhooks begins so; those of version 0.1 lie as they came.
_PREFIX = "sealed-1:"
_SEALS = b"divisi webhook secrets v1"
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Link:
    """What a link opens: a path, percent-decoded, and the query without expiry and signature, in order."""

    path: str
    query: tuple[tuple[str, str], ...] = ()


def sign_link(link: Link, expires_at: int, secret: bytes) -> str:
    """Path and query with what opens them until `expires_at` (Unix seconds)."""
    signed = {EXPIRES: str(expires_at), SIGNATURE: _signature(link, str(expires_at), secret)}
    return f"{quote(link.path)}?{urlencode([*link.query, *signed.items()])}"


def check_link(link: Link, expires: str, signature: str, secret: bytes, now: float | None = None) -> None:
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
    if int(expires) <= (time.time() if now is None else now):
        raise AccessError("the time of this link is over; ask for a new one", code="link-expired")


def _signature(link: Link, expires: str, secret: bytes) -> str:
    # Without a query as version 0.1 signed it. A time holds no line break, nor does an encoded query: no two links
    # that pass for ours have one text.
    query = urlencode(link.query, errors="surrogatepass")
    text = b"\n".join(part.encode(errors="surrogatepass") for part in (link.path, expires, *filter(None, [query])))
    text = _LINKS + b"\n" + text
    return base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).decode().rstrip("=")


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
