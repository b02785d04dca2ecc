"""What a receiver makes of webhooks: those of the sender's library pass, everything else is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from divisi.client import verify_webhook
from divisi.client.webhook import TOLERANCE_SECONDS
from divisi.contract.errors import AccessError, InputError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "job.succeeded", "data": {"id": "01", "file_name": "Ave verum – Übung.wav"}}).encode()
SENT = 1_780_000_000


def headers(secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(SENT, UTC), body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(SENT), "Webhook-Signature": signature}


def test_what_the_sender_signs_is_taken() -> None:
    assert verify_webhook(headers(), BODY, SECRET, now=lambda: SENT + 10.0)["data"]["id"] == "01"
    assert verify_webhook(headers(), BODY.decode(), SECRET, now=lambda: SENT - TOLERANCE_SECONDS)


def test_one_signature_of_several_is_enough_while_a_secret_is_changed() -> None:
    both = f"v1,bm8= {headers(OTHER)['Webhook-Signature']} {headers()['Webhook-Signature']}"
    assert verify_webhook(headers() | {"Webhook-Signature": both}, BODY, SECRET, now=lambda: SENT)


@pytest.mark.parametrize(
    ("changed", "body", "seconds"),
    [
        ({}, BODY + b" ", 0),
        ({"Webhook-Id": "msg_2"}, BODY, 0),
        ({"Webhook-Timestamp": str(SENT + 1)}, BODY, 0),
        ({"Webhook-Timestamp": "yesterday"}, BODY, 0),
        ({"Webhook-Signature": ""}, BODY, 0),
        ({"Webhook-Signature": "v1,\u00fc"}, BODY, 0),
        ({"Webhook-Signature": headers(OTHER)["Webhook-Signature"]}, BODY, 0),
        ({"Webhook-Signature": headers()["Webhook-Signature"].replace("v1,", "v2,")}, BODY, 0),
        ({}, BODY, TOLERANCE_SECONDS + 1),
        ({}, BODY, -TOLERANCE_SECONDS - 1),
    ],
)
def test_what_was_changed_or_is_old_is_refused(changed: dict[str, str], body: bytes, seconds: float) -> None:
    with pytest.raises(AccessError, match="webhook"):
        verify_webhook(headers() | changed, body, SECRET, now=lambda: SENT + seconds)


@pytest.mark.parametrize("missing", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_request_without_a_signature_is_refused(missing: str) -> None:
    given = {name: value for name, value in headers().items() if name != missing}
    with pytest.raises(AccessError, match=missing.lower()):
        verify_webhook(given, BODY, SECRET, now=lambda: SENT)


def test_a_secret_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="base64"):
        verify_webhook(headers(), BODY, "whsec_no secret", now=lambda: SENT)
