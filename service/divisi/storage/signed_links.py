"""Links that open one path for some time, for whoever holds them: an HMAC over path and expiry.

Object stores that sign links themselves do so; this is for what the gateway serves, whatever store is behind it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from urllib.parse import quote

from divisi.errors import AccessError

EXPIRES, SIGNATURE = "expires", "signature"
# Keeps these signatures apart from any other use of the same secret.
_PURPOSE = b"divisi link v1"


def sign_link(path: str, expires_at: int, secret: bytes) -> str:
    """The path with a query that opens it until `expires_at` (Unix seconds)."""
    return f"{quote(path)}?{EXPIRES}={expires_at}&{SIGNATURE}={_signature(path, str(expires_at), secret)}"


def check_link(path: str, expires: str, signature: str, secret: bytes, now: float | None = None) -> None:
    """Returns when the link is ours and still open.

    Args:
        path: as asked for, percent-decoded.
        expires, signature: values of the query as they came.

    Raises:
        AccessError: somebody else made or changed it (`link-invalid`), or its time is over (`link-expired`).
    """
    if not hmac.compare_digest(_signature(path, expires, secret).encode(), signature.encode(errors="surrogatepass")):
        raise AccessError("this link was not made here, or has been changed", code="link-invalid")
    if int(expires) <= (time.time() if now is None else now):
        raise AccessError("the time of this link is over; ask for a new one", code="link-expired")


def _signature(path: str, expires: str, secret: bytes) -> str:
    text = b"\n".join((_PURPOSE, path.encode(errors="surrogatepass"), expires.encode(errors="surrogatepass")))
    return base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).decode().rstrip("=")
