from __future__ import annotations

import base64
import hashlib
import hmac

from divisi.webhooks.sender import signature_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_signature_is_the_one_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    signed = signature_of(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_signed_is_the_bytes_that_are_sent() -> None:
    body = '{"file_name":"Ubi caritas – Händel\\n.wav"}'.encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.digest(key, b"job-1.1614265330." + body, hashlib.sha256)
    assert signature_of(SECRET, "job-1", 1614265330, body) == "v1," + base64.b64encode(expected).decode()
