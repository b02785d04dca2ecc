"""Who may do what: keys, scopes, ownership, signed links."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from tests.conftest import free_port
from tests.gateway.keyed import BOTH, KeyedGateway, keyed_gateway

from divisi.access.callers import Link, sign_link
from divisi.access.key_ring import KeyRing, NewKey, Scope
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, StemBytes, WorkOff

JOB_ID = "0" * 26
OPEN_TO_ALL = {"/livez", "/readyz", "/openapi.json"}


@pytest.fixture
def keyed(settings: Settings, serve: Serve) -> Iterator[KeyedGateway]:
    with keyed_gateway(settings, serve) as gateway:
        yield gateway


def submit(caller: httpx.Client, song: bytes, **fields: str) -> httpx.Response:
    return caller.post("/v1/jobs", files={"file": ("Ave verum.wav", song)}, data=fields)


def finished(keyed: KeyedGateway, key: NewKey, song: bytes, work_off: WorkOff) -> str:
    """Path of a job of that key that has stems."""
    with keyed.caller(key) as caller:
        url = submit(caller, song).headers["location"]
    keyed.ask(lambda queue: work_off(queue, keyed.store))
    return url


def test_without_a_key_nothing_is_done_and_the_answer_says_what_to_show(keyed: KeyedGateway) -> None:
    with keyed.caller() as nobody:
        paths = nobody.get("/openapi.json").json()["paths"]
        operations = [(method.upper(), path) for path, methods in paths.items() for method in methods]
        assert len(operations) > 12
        for method, template in operations:
            if template in OPEN_TO_ALL:
                continue
            path = template.replace("{job_id}", JOB_ID).replace("{stem}", "alto").replace("{model_id}", "quartet")
            answer = nobody.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == 'Bearer realm="divisi"'
            assert answer.headers["content-type"] == "application/problem+json"
            if method != "HEAD":
                assert answer.json()["code"] == "key-missing"


def test_probes_and_the_contract_ask_for_no_key(keyed: KeyedGateway) -> None:
    with keyed.caller() as nobody:
        assert {path: nobody.get(path).status_code for path in OPEN_TO_ALL} == dict.fromkeys(OPEN_TO_ALL, 200)


@pytest.mark.parametrize("text", ["Bearer dv_0123456789abcdef_" + "0" * 64, "Bearer x", "Basic dXNlcjpwYXNz", "Bearer"])
def test_a_wrong_key_opens_nothing(keyed: KeyedGateway, text: str) -> None:
    with keyed.caller(Authorization=text) as caller:
        answer = caller.get("/v1/jobs")
    assert answer.status_code == 401
    assert answer.json()["code"] in ("key-invalid", "key-missing")


def test_an_expired_key_says_that_it_has_expired(keyed: KeyedGateway) -> None:
    with keyed.caller(keyed.make_key(*BOTH, expires_at=time.time() - 1)) as caller:
        answer = caller.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "key-expired")
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_a_key_does_what_its_scopes_say_and_no_more(keyed: KeyedGateway, song: bytes) -> None:
    with keyed.caller(keyed.make_key(Scope.JOBS_READ)) as reader:
        refused = submit(reader, song)
        assert refused.status_code == 403
        assert refused.json()["code"] == "scope-missing"
        assert 'error="insufficient_scope", scope="jobs:write"' in refused.headers["www-authenticate"]
        assert reader.get("/v1/jobs").status_code == 200
        assert reader.get("/metrics").status_code == 403
    with keyed.caller(keyed.make_key(Scope.JOBS_WRITE)) as writer:
        accepted = submit(writer, song)
        assert accepted.status_code == 202
        assert writer.get(accepted.headers["location"]).status_code == 403
        assert writer.delete(accepted.headers["location"]).status_code == 204
    with keyed.caller(keyed.make_key(Scope.METRICS)) as prometheus:
        assert prometheus.get("/metrics").status_code == 200
        assert prometheus.get("/v1/models").status_code == 200
        assert prometheus.get("/v1/jobs").status_code == 403


def test_a_revoked_key_is_refused_at_the_next_request(keyed: KeyedGateway) -> None:
    key = keyed.make_key(*BOTH)
    with keyed.caller(key) as caller:
        assert caller.get("/v1/jobs").status_code == 200
        keyed.revoke(key)
        assert caller.get("/v1/jobs").status_code == 401


def test_a_job_is_there_for_its_owner_and_for_an_administrator_only(
    keyed: KeyedGateway, song: bytes, work_off: WorkOff
) -> None:
    mine, theirs, admin = keyed.make_key(*BOTH), keyed.make_key(*BOTH), keyed.make_key(Scope.ADMIN)
    url = finished(keyed, mine, song, work_off)
    reads = (url, f"{url}/events", f"{url}/stems/alto", f"{url}/archive.zip", f"{url}/deliveries")
    with keyed.caller(theirs) as other:
        unknown = other.get(f"/v1/jobs/{JOB_ID}").json()
        for path in reads:
            answer = other.get(path)
            assert answer.status_code == 404, path
            assert answer.json()["code"] == unknown["code"]
        assert other.post(f"{url}/links").status_code == 404
        assert other.post(f"{url}/cancel").status_code == 404
        assert other.delete(url).status_code == 404
        assert other.get("/v1/jobs").json()["jobs"] == []
    for key in (mine, admin):
        with keyed.caller(key) as caller:
            assert [caller.get(path).status_code for path in reads] == [200] * len(reads)
            assert len(caller.get("/v1/jobs").json()["jobs"]) == 1


def test_a_group_shows_each_caller_their_own_jobs(keyed: KeyedGateway, song: bytes) -> None:
    mine, theirs = keyed.make_key(*BOTH), keyed.make_key(*BOTH)
    with keyed.caller(mine) as caller:
        location = submit(caller, song, model="quartet,duo").headers["location"]
        assert len(caller.get(location).json()["systems"]) == 2
    with keyed.caller(theirs) as other:
        assert other.get(location).json()["code"] == "unknown-group"


def test_two_callers_may_use_the_same_idempotency_key(keyed: KeyedGateway, song: bytes) -> None:
    answers = []
    for key in (keyed.make_key(*BOTH), keyed.make_key(*BOTH)):
        with keyed.caller(key, **{"Idempotency-Key": "tuesday"}) as caller:
            answers += [submit(caller, song), submit(caller, song)]
    first, replay, other, _ = [answer.json()["id"] for answer in answers]
    assert first == replay != other


def test_a_signed_link_opens_one_download_without_a_key(
    keyed: KeyedGateway, song: bytes, work_off: WorkOff, stem_bytes: StemBytes
) -> None:
    key = keyed.make_key(*BOTH)
    url = finished(keyed, key, song, work_off)
    with keyed.caller(key) as caller:
        links = caller.post(f"{url}/links", params={"seconds": 60}).json()
    hrefs = {stem["name"]: stem["href"] for stem in links["stems"]}
    with keyed.caller() as nobody:
        whole = nobody.get(hrefs["alto"])
        assert whole.content == stem_bytes("alto")
        assert nobody.get(hrefs["alto"], headers={"Range": "bytes=10-19"}).content == stem_bytes("alto")[10:20]
        assert nobody.head(hrefs["alto"]).headers["etag"] == whole.headers["etag"]
        assert nobody.get(links["archive"]).headers["content-type"] == "application/zip"
        query = urlsplit(hrefs["alto"]).query
        for path in (f"{url}/stems/bass", f"{url}/archive.zip", f"{url}/stems/alto/"):
            assert nobody.get(f"{path}?{query}").status_code in (403, 404)
        shared = nobody.get(links["shared"]).json()
        mix = urlsplit(shared["mixes"][1]["without"])
        assert parse_qs(mix.query)["without"] == ["true"]
        assert nobody.get(shared["stems"][1]["href"]).content == stem_bytes("alto")
        assert nobody.get(shared["recording"]["href"]).content == song
        assert nobody.get(shared["links"]["self"]).status_code == 401
        assert nobody.get(f"{url}?{query}").status_code == 401
        assert nobody.request("DELETE", f"{url}?{query}").status_code == 401


def test_a_changed_link_is_refused_and_an_old_one_is_gone(keyed: KeyedGateway, song: bytes, work_off: WorkOff) -> None:
    url = finished(keyed, keyed.make_key(*BOTH), song, work_off)
    secret = keyed.ask(lambda queue: KeyRing(queue.door, None).deployment_secret())
    path = f"{url}/stems/alto"
    old = sign_link(Link(path), int(time.time()) - 1, secret)
    expires = parse_qs(urlsplit(old).query)["expires"][0]
    with keyed.caller() as nobody:
        expired = nobody.get(old)
        assert (expired.status_code, expired.json()["code"]) == (410, "link-expired")
        for forged in (
            old.replace(expires, str(int(expires) + 1000)),
            sign_link(Link(path), int(time.time()) + 60, b"another secret"),
            sign_link(Link(path), int(time.time()) + 60, secret) + "&without=true",
            f"{path}?signature=%FF%00&expires=soon",
        ):
            answer = nobody.get(forged)
            assert (answer.status_code, answer.json()["code"]) == (403, "link-invalid")
        assert nobody.get(f"{path}?signature=&expires={expires}").status_code == 401


def test_a_signed_link_opens_one_query_and_no_other(
    keyed: KeyedGateway, song: bytes, work_off: WorkOff, stem_bytes: StemBytes
) -> None:
    key = keyed.make_key(*BOTH)
    url = finished(keyed, key, song, work_off)
    with keyed.caller(key) as caller:
        shared = caller.post(f"{url}/links", params={"seconds": 60}).json()["shared"]
    with keyed.caller() as nobody:
        mixes = nobody.get(shared).json()["mixes"][1]
        in_front, without = mixes["in_front"], mixes["without"]
        assert nobody.head(in_front).status_code == nobody.head(without).status_code == 200
        assert nobody.head(in_front).headers["etag"] != nobody.head(without).headers["etag"]
        for changed in (
            f"{in_front}&lower_db=3",
            f"{in_front}&without=true",
            f"{in_front}&unheard_of=1",
            f"{without}&lower_db=3",
            f"{without}&without=false",
            without.replace("without=true", "without=false"),
            without.replace("without=true&", ""),
            without.replace("/mixes/alto?without=true&", "/mixes/alto%3Fwithout=true?"),
        ):
            answer = nobody.get(changed)
            assert (answer.status_code, answer.json()["code"]) == (403, "link-invalid"), changed


def test_links_of_version_0_1_open_what_they_opened(keyed: KeyedGateway, song: bytes, work_off: WorkOff) -> None:
    path = f"{finished(keyed, keyed.make_key(*BOTH), song, work_off)}/stems/alto"
    secret, expires = keyed.ask(lambda queue: KeyRing(queue.door, None).deployment_secret()), int(time.time()) + 60
    text = f"divisi link v1\n{path}\n{expires}".encode()
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).decode().rstrip("=")
    with keyed.caller() as nobody:
        assert nobody.get(f"{path}?expires={expires}&signature={signature}").status_code == 200
        # A text of ours cannot be cut elsewhere: a time is digits.
        cut = f"{path}%0A{expires}?without=true&expires=soon&signature={signature}"
        assert nobody.get(cut).status_code == 403


def test_a_shared_comparison_opens_with_all_its_files_and_nothing_else(keyed: KeyedGateway, song: bytes) -> None:
    key, stranger = keyed.make_key(*BOTH), keyed.make_key(*BOTH, name="stranger")
    with keyed.caller(key) as caller:
        group = submit(caller, song, model="quartet,duo").headers["location"]
        shared = caller.post(f"{group}/links", params={"seconds": 60}).json()["shared"]
    with keyed.caller(stranger) as other:
        assert other.get(group).json()["code"] == "unknown-group"
        assert other.post(f"{group}/links").status_code == 404
    with keyed.caller() as nobody:
        body = nobody.get(shared).json()
        assert [system["model"] for system in body["systems"]] == ["quartet", "duo"]
        assert nobody.get(body["systems"][0]["job"]["recording"]["href"]).content == song
        assert nobody.get(body["table"]).status_code == 200
        assert nobody.get(group).status_code == 401
        assert nobody.get(f"{group}/shared").status_code == 401


def test_links_are_signed_by_the_deployments_own_secret_where_it_has_one(
    settings: Settings, serve: Serve, song: bytes, work_off: WorkOff
) -> None:
    with keyed_gateway(settings, serve, signing_secret=SecretStr("one of ours")) as first:
        key = first.make_key(*BOTH)
        url = finished(first, key, song, work_off)
        with first.caller(key) as caller:
            href = caller.post(f"{url}/links").json()["archive"]
    with keyed_gateway(settings, serve, signing_secret=SecretStr("one of ours")) as restarted:
        assert httpx.get(f"{restarted.url}{href}").status_code == 200
    with keyed_gateway(settings, serve, signing_secret=SecretStr("a new one")) as rotated:
        assert httpx.get(f"{rotated.url}{href}").status_code == 403


def test_a_link_lives_no_longer_than_the_job(gateway: Gateway, http: httpx.Client, song: bytes, work_off) -> None:
    async def finish() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store)

    url = submit(http, song).headers["location"]
    asyncio.run(finish())
    week = http.post(f"{url}/links", params={"seconds": 7 * 24 * 3600}).json()
    assert week["expires_at"][:16] <= http.get(url).json()["expires_at"][:16]
    assert http.post(f"{url}/links", params={"seconds": 10**9}).status_code == 422
    assert http.delete(url).status_code == 204
    assert http.get(week["archive"]).status_code == 404


def test_a_link_to_a_comparison_lives_no_longer_than_its_jobs(
    gateway: Gateway, http: httpx.Client, song: bytes, work_off: WorkOff
) -> None:
    async def finish() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store)

    group = submit(http, song, model="quartet,duo").headers["location"]

    def expiry_of_link() -> str:
        return str(http.post(f"{group}/links", params={"seconds": 7 * 24 * 3600}).json()["expires_at"])

    asyncio.run(finish())
    one_runs = expiry_of_link()
    asyncio.run(finish())
    last = max(system["job"]["expires_at"] for system in http.get(group).json()["systems"])
    assert expiry_of_link()[:19] == last[:19] < one_runs[:19]


def test_an_open_gateway_asks_nobody_for_a_key(http: httpx.Client) -> None:
    assert http.get("/v1/jobs", headers={"Authorization": "Bearer whatever"}).status_code == 200


def test_when_redis_is_away_nobody_gets_in_by_a_key(settings: Settings, serve: Serve) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    with keyed_gateway(settings, serve, redis_url=away) as keyed, keyed.caller() as caller:
        answer = caller.get("/v1/models", headers={"Authorization": "Bearer dv_0123456789abcdef_" + "0" * 64})
        assert answer.status_code == 503
        assert caller.get("/livez").status_code == 200


def test_kept_jobs_stay_with_their_links_and_are_limited(
    settings: Settings, serve: Serve, song: bytes, work_off: WorkOff
) -> None:
    with (
        keyed_gateway(settings, serve, max_kept_jobs=1) as gateway,
        gateway.caller(key := gateway.make_key(*BOTH)) as caller,
    ):
        waiting = submit(caller, song).headers["location"]
        assert caller.put(f"{waiting}/keep").json()["code"] == "job-not-finished"
        assert caller.delete(waiting).status_code == 204
        urls = [finished(gateway, key, song, work_off) for _ in range(2)]
        kept = caller.put(f"{urls[0]}/keep").json()
        assert (kept["is_kept"], kept["expires_at"]) == (True, None)
        assert caller.put(f"{urls[0]}/keep").status_code == 200
        links = caller.post(f"{urls[0]}/links").json()
        assert datetime.fromisoformat(links["expires_at"]) > datetime.now(UTC) + timedelta(days=3650)
        refused = caller.put(f"{urls[1]}/keep")
        assert (refused.status_code, refused.json()["code"]) == (409, "too-many-kept-jobs")
        let_go = caller.delete(f"{urls[0]}/keep").json()
        assert (let_go["is_kept"], let_go["expires_at"] is None) == (False, False)
        assert caller.put(f"{urls[1]}/keep").status_code == 200
        assert caller.delete(urls[1]).status_code == 204
        assert caller.put(f"{urls[0]}/keep").status_code == 200
