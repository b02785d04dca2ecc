"""The signature of Standard Webhooks 1.0, and which secrets can make one."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from standardwebhooks import Webhook

from divisi.access.key_ring import WEBHOOK_SECRET_PREFIX
from divisi.contract.errors import InputError

SECRET_BYTES = range(24, 65)


def signature_of(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Value of `webhook-signature`.

    Args:
        secret: `whsec_…`.
        timestamp: Unix seconds, as in `webhook-timestamp`.
    """
    return Webhook(secret).sign(delivery_id, datetime.fromtimestamp(timestamp, UTC), body.decode())


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
