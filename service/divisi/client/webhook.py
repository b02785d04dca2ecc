"""What the receiver of a webhook does first: check that it comes from the service and is fresh.

The signature is that of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, joined by dots.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from divisi.contract.errors import AccessError, InputError

TOLERANCE_SECONDS = 300
"""How far the sender's clock may be off, and how long a delivery may take."""
_PREFIX, _VERSION = "whsec_", "v1"


def verify_webhook(
    headers: Mapping[str, str], body: bytes | str, secret: str, *, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """What a webhook says, once it is known to come from who has the secret.

    Args:
        headers: of the request, whatever their case.
        body: of the request, as it came: parsed and written again, it has another signature.
        secret: `whsec_…`, given with the job as `webhook_secret`, or made with the API key.
        now: seconds since 1970.

    Raises:
        AccessError: `webhook-unverified`: a header is missing, the signature is another, or it is older or newer than
            five minutes.
        InputError: `invalid-webhook-secret`.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at, signatures = (found[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        seconds = int(sent_at)
    except (KeyError, ValueError) as error:
        raise AccessError(f"no signed webhook: {error}", code="webhook-unverified") from error
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        message = f"the webhook's secret is {_PREFIX} and base64: {error}"
        raise InputError(message, code="invalid-webhook-secret") from error
    content = body.encode() if isinstance(body, str) else body
    digest = hmac.new(key, b".".join([message_id.encode(), sent_at.encode(), content]), hashlib.sha256).digest()
    expected = f"{_VERSION},{base64.b64encode(digest).decode()}"
    # Several, apart by spaces, while a secret is changed.
    if not any(hmac.compare_digest(expected.encode(), given.encode()) for given in signatures.split()):
        raise AccessError("the webhook's signature is not of this secret", code="webhook-unverified")
    if abs(now() - seconds) > TOLERANCE_SECONDS:
        message = (
            f"the webhook was signed {abs(now() - seconds):.0f} s away from now; {TOLERANCE_SECONDS} s are accepted"
        )
        raise AccessError(message, code="webhook-unverified")
    said: dict[str, Any] = json.loads(content)
    return said
