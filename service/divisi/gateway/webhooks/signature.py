"""The signature of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, in base64 after `v1,`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from divisi.access.key_ring import WEBHOOK_SECRET_PREFIX
from divisi.errors import InputError

SECRET_BYTES = range(24, 65)


def signature_of(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Value of `webhook-signature`.

    Args:
        secret: `whsec_…`.
        timestamp: Unix seconds, as in `webhook-timestamp`.
    """
    signed = b".".join((delivery_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(_secret_bytes(secret), signed, hashlib.sha256)).decode()


def check_webhook_secret(secret: str) -> None:
    """InputError (`invalid-webhook-secret`) for what is no secret in the form of Standard Webhooks."""
    try:
        is_fit = secret.startswith(WEBHOOK_SECRET_PREFIX) and len(_secret_bytes(secret)) in SECRET_BYTES
    except (binascii.Error, ValueError):
        is_fit = False
    if not is_fit:
        raise InputError(
            f"webhook_secret must be `{WEBHOOK_SECRET_PREFIX}` and {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} "
            "bytes in base64",
            code="invalid-webhook-secret",
        )


def _secret_bytes(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)
