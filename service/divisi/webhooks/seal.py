"""A job's own webhook secret as it rests in Redis and in the object store: sealed under the deployment's secret.

AES-256-GCM, bound to the job, with a key that is derived for this alone. Whoever can read the store, a backup of it or
a listing of jobs cannot sign webhooks; whoever can also read the deployment's secret can.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# No secret of Standard Webhooks begins so; those of version 0.1 lie as they came.
_PREFIX = "sealed-1:"
_PURPOSE = b"divisi webhook secrets v1"
_NONCE_BYTES = 12


class SealError(Exception):
    """The seal is another deployment secret's, or broken; the message is for the log of deliveries."""


def seal(secret: str, job_id: str, deployment_secret: bytes) -> str:
    """The secret of one job's webhooks in a form that may be stored."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = _cipher(deployment_secret).encrypt(nonce, secret.encode(), job_id.encode())
    return _PREFIX + base64.b64encode(nonce + sealed).decode()


def unseal(stored: str, job_id: str, deployment_secret: bytes) -> str:
    """The secret that was sealed for this job; what version 0.1 stored as it is.

    Raises:
        SealError: it cannot be opened.
    """
    if not stored.startswith(_PREFIX):
        return stored
    try:
        sealed = base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
        opened = _cipher(deployment_secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], job_id.encode())
    except (binascii.Error, InvalidTag, ValueError) as error:
        raise SealError("the job's webhook_secret was sealed under another signing secret") from error
    return opened.decode()


def _cipher(deployment_secret: bytes) -> AESGCM:
    return AESGCM(hmac.digest(deployment_secret, _PURPOSE, hashlib.sha256))
