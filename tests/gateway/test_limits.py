"""Limits over HTTP: headers that count down, 429 with a time to come back, quotas that refusals do not touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.gateway.keyed import BOTH, KeyedGateway, keyed_gateway

from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve

HALF_A_SECOND = 0.5


def submit(caller: httpx.Client, song: bytes, **fields: str) -> httpx.Response:
    return caller.post("/v1/jobs", files={"file": ("Ave verum.wav", song)}, data=fields)


@pytest.fixture
def strict(settings: Settings, serve: Serve) -> Iterator[KeyedGateway]:
    with keyed_gateway(settings, serve, requests_per_minute=4, max_upload_bytes_per_day=10**6) as gateway:
        yield gateway


def test_requests_are_counted_down_and_then_refused_for_a_while(strict: KeyedGateway) -> None:
    with strict.caller(strict.make_key(*BOTH)) as caller, strict.caller(strict.make_key(*BOTH)) as other:
        answers = [caller.get("/v1/jobs") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        left = [answer.headers["ratelimit"].split(";")[:2] for answer in answers]
        assert left == [['"requests"', f"r={rest}"] for rest in (3, 2, 1, 0, 0)]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {
            '"requests";q=4;w=60, "upload-bytes";q=1000000;w=86400;qu="content-bytes"'
        }
        refused = answers[-1]
        assert refused.json()["code"] == "rate-limited"
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.json()["facts"]["violated"] == "requests"
        assert other.get("/v1/jobs").status_code == 200
        assert caller.get("/readyz").status_code == 200


def test_guessing_keys_is_limited_by_address(strict: KeyedGateway) -> None:
    with strict.caller(Authorization="Bearer dv_0123456789abcdef_" + "0" * 64) as guesser:
        assert [guesser.get("/v1/jobs").status_code for _ in range(5)] == [401] * 4 + [429]
    with strict.caller(strict.make_key(*BOTH)) as caller:
        assert caller.get("/v1/jobs").status_code == 200


def test_where_all_may_call_without_a_key_addresses_are_limited(settings: Settings, serve: Serve) -> None:
    changes = {"require_keys": False, "host": "0.0.0.0", "allow_open_access": True, "requests_per_minute": 2}
    with keyed_gateway(settings, serve, **changes) as gateway, gateway.caller() as caller:
        assert [caller.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]


def test_on_this_machine_alone_nobody_is_limited(gateway: Gateway, http: httpx.Client, song: bytes) -> None:
    answer = submit(http, song)
    assert answer.status_code == 202
    assert "ratelimit" not in answer.headers
    assert not [key for key in gateway.redis_keys() if "requests:" in key or "spent:" in key or "unfinished:" in key]


def test_unfinished_jobs_are_limited_until_one_ends(settings: Settings, serve: Serve, song: bytes) -> None:
    with (
        keyed_gateway(settings, serve, max_unfinished_jobs=2) as gateway,
        gateway.caller(gateway.make_key(*BOTH)) as caller,
    ):
        assert submit(caller, song, model="quartet,duo,quartet").status_code == 202
        refused = submit(caller, song)
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-unfinished-jobs")
        assert int(refused.headers["retry-after"]) > 0
        first = caller.get("/v1/jobs").json()["jobs"][0]["id"]
        caller.post(f"/v1/jobs/{first}/cancel")
        assert submit(caller, song, model="quartet,duo").status_code == 429
        assert submit(caller, song).status_code == 202


def test_a_days_uploads_are_limited_and_refused_ones_do_not_count(
    settings: Settings, serve: Serve, song: bytes
) -> None:
    limits = {"max_upload_bytes_per_day": 2 * len(song), "max_audio_seconds_per_day": 10 * HALF_A_SECOND}
    with (
        keyed_gateway(settings, serve, **limits) as gateway,
        gateway.caller(gateway.make_key(*BOTH), **{"Idempotency-Key": "one"}) as caller,
    ):
        assert submit(caller, b"no audio" * 1000).status_code == 415
        assert submit(caller, song).status_code == 202
        assert submit(caller, song).headers["idempotency-replayed"] == "true"
        caller.headers["Idempotency-Key"] = "two"
        assert submit(caller, song).status_code == 202
        refused = caller.post("/v1/jobs", content=song)
        assert (refused.status_code, refused.json()["code"]) == (429, "upload-quota-used-up")
        assert 23 * 3600 < int(refused.headers["retry-after"]) <= 24 * 3600


def test_true_sources_count_among_a_days_bytes(settings: Settings, serve: Serve, song: bytes) -> None:
    with (
        keyed_gateway(settings, serve, max_upload_bytes_per_day=3 * len(song)) as gateway,
        gateway.caller(gateway.make_key(*BOTH)) as caller,
    ):
        recording, *sources = (
            (field, (field, song)) for field in ("file", "reference_alto", "reference_tenor", "reference_bass")
        )
        refused = caller.post("/v1/jobs", files=[recording, *sources])
        assert (refused.status_code, refused.json()["code"]) == (429, "upload-quota-used-up")
        assert caller.post("/v1/jobs", files=[recording, *sources[:2]]).status_code == 202
        assert submit(caller, song).status_code == 429


def test_audio_counts_once_for_each_model(settings: Settings, serve: Serve, song: bytes) -> None:
    with (
        keyed_gateway(settings, serve, max_audio_seconds_per_day=3 * HALF_A_SECOND) as gateway,
        gateway.caller(gateway.make_key(*BOTH)) as caller,
    ):
        assert submit(caller, song, model="quartet,duo").status_code == 202
        refused = submit(caller, song, model="quartet,duo")
        assert (refused.status_code, refused.json()["facts"]["violated"]) == (429, "upload-audio")
        assert submit(caller, song).status_code == 202
