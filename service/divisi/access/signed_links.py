"""Links that open one path with one query for some time, for whoever holds them: an HMAC over these and the expiry.

Object stores that sign links themselves do so; this is for what the gateway serves, whatever store is behind it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from divisi.contract.errors import AccessError

EXPIRES, SIGNATURE = "expires", "signature"
# Keeps these signatures apart from any other use of the same secret.
_PURPOSE = b"divisi link v1"
_TIME = re.compile(r"[0-9]{1,12}")


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
    text = _PURPOSE + b"\n" + text
    return base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).decode().rstrip("=")
