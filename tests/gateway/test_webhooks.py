"""Webhooks end to end: real Redis, real receivers, signatures verified by the reference library."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from standardwebhooks import Webhook
from tests.gateway.keyed import BOTH, keyed_gateway
from tests.gateway.receiver import Received, Receiver, receiving

from divisi.access.key_ring import KeyRing, new_webhook_secret, seal
from divisi.contract.job import Job, new_job_id
from divisi.gateway.jobs import message_of
from divisi.life import reconcile
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings
from divisi.webhooks.deliveries import Deliveries, Delivery, DeliveryStatus
from divisi.webhooks.sender import RETRY_SECONDS, WebhookSender

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, WorkOff

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.0/8"
SECRET = new_webhook_secret()
FAST = (0.01,) * 20


@pytest.fixture
def allowing(redis_url: str) -> Settings:
    """Settings that let webhooks reach receivers on this machine."""
    return Settings(redis_url=redis_url, webhook_allowed_networks=LOOPBACK, webhook_seconds=5)


@asynccontextmanager
async def sending(settings: Settings, **options) -> AsyncIterator[JobQueue]:
    """A sender at work; gives another connection to its queue."""
    async with RedisDoor(settings.redis_url) as own, RedisDoor(settings.redis_url) as door:
        queue = JobQueue(door)
        task = asyncio.create_task(WebhookSender(own, settings, message_of, **options).run())
        try:
            yield queue
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def end_job(queue: JobQueue, url: str, secret: str | None = SECRET, **changes) -> str:
    """A job that asked to be told about, and is cancelled."""
    asked = {"model_id": "quartet", "model_version": "1.0.0", "stem_format": "wav24", "submitted_at": 1.0}
    job = Job(**asked | {"job_id": new_job_id(), "webhook_url": url, "webhook_secret": secret} | changes)
    await queue.submit(job)
    await queue.cancel(job.job_id)
    return job.job_id


async def settled(queue: JobQueue, job_id: str, attempts: int = 1) -> Delivery:
    """The job's delivery, once so many attempts are in its log."""
    while True:
        [delivery] = await Deliveries(queue.door).deliveries(job_id)
        if len(delivery.log) >= attempts:
            return delivery
        await asyncio.sleep(0.01)


async def arrived(receiver: Receiver) -> Received:
    """The next request; the sender works meanwhile."""
    return await asyncio.to_thread(receiver.next)


def verified(received: Received, secret: str = SECRET) -> dict:
    """The message, if its signature is right."""
    return Webhook(secret).verify(received.body, received.headers)


async def test_the_end_of_a_job_is_told_signed_and_logged(
    settings: Settings, serve: Serve, song: bytes, work_off: WorkOff
) -> None:
    with (
        receiving() as receiver,
        keyed_gateway(settings, serve, require_keys=False, webhook_allowed_networks=LOOPBACK) as gateway,
        gateway.caller() as caller,
    ):
        url = f"http://127.0.0.1:{receiver.port}/told?choir=1"
        data = {"webhook_url": url, "webhook_secret": SECRET}
        accepted = caller.post("/v1/jobs", files={"file": song}, data=data)
        job_url = accepted.headers["location"]
        assert caller.get(f"{job_url}/deliveries").json() == {"webhook_url": url, "deliveries": []}
        async with RedisDoor(settings.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store)
        received = await arrived(receiver)
        message = verified(received)
        assert received.path == "/told?choir=1"
        assert received.headers["content-type"] == "application/json"
        assert message["type"] == "job.succeeded"
        job = caller.get(job_url).json()
        assert {name: message["data"][name] for name in ("id", "state", "stems")} == {
            "id": job["id"],
            "state": "succeeded",
            "stems": [{name: value for name, value in stem.items() if value is not None} for stem in job["stems"]],
        }
        async with RedisDoor(settings.redis_url) as door:
            queue = JobQueue(door)
            await settled(queue, accepted.json()["id"])
        [delivery] = caller.get(f"{job_url}/deliveries").json()["deliveries"]
        assert (delivery["id"], delivery["type"], delivery["status"]) == (
            received.headers["webhook-id"],
            "job.succeeded",
            "delivered",
        )
        assert [attempt["status"] for attempt in delivery["log"]] == [204]
        assert SECRET not in caller.get(job_url).text + caller.get(f"{job_url}/deliveries").text


def everything_at_rest(settings: Settings) -> str:
    """All values in Redis and all objects of the folder, as text."""
    kinds = {
        "string": lambda client, key: client.get(key),
        "hash": lambda client, key: client.hgetall(key),
        "list": lambda client, key: client.lrange(key, 0, -1),
        "set": lambda client, key: client.smembers(key),
        "zset": lambda client, key: client.zrange(key, 0, -1),
        "stream": lambda client, key: client.xrange(key),
    }
    with redis.Redis.from_url(settings.redis_url) as client:
        values = [str(kinds[client.type(key).decode()](client, key)) for key in client.scan_iter()]
    folder = Path(settings.store_url.removeprefix("file://"))
    objects = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(values + objects)


async def test_a_jobs_secret_rests_sealed_and_signs_even_when_redis_was_lost(
    settings: Settings, serve: Serve, song: bytes
) -> None:
    with (
        receiving() as receiver,
        keyed_gateway(
            settings,
            serve,
            require_keys=False,
            webhook_allowed_networks=LOOPBACK,
            signing_secret=SecretStr("one of ours"),
        ) as gateway,
        gateway.caller() as caller,
    ):
        url = f"http://127.0.0.1:{receiver.port}/"
        data = {"webhook_url": url, "webhook_secret": SECRET, "model": "quartet,duo"}
        job_ids = [job["id"] for job in caller.post("/v1/jobs", files={"file": song}, data=data).json()["jobs"]]
        at_rest = everything_at_rest(settings)
        assert at_rest.count(url) == 4  # each job's record in Redis and its object in the store
        assert SECRET.removeprefix("whsec_") not in at_rest
        with redis.Redis.from_url(settings.redis_url) as client:
            client.flushall()
        async with RedisDoor(settings.redis_url) as door:
            assert set(await reconcile(JobQueue(door), gateway.store)) == set(job_ids)
        for job_id in job_ids:
            caller.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
            assert verified(await arrived(receiver))["data"]["id"] == job_id


async def test_a_secret_sealed_under_another_signing_secret_is_tried_again_later(allowing: Settings) -> None:
    job_id = new_job_id()
    sealed = seal(SECRET, job_id, b"the old secret of this deployment")
    with receiving() as receiver:
        async with sending(allowing.model_copy(update={"signing_secret": SecretStr("the new one")})) as queue:
            await end_job(queue, f"http://127.0.0.1:{receiver.port}/", sealed, job_id=job_id)
            delivery = await settled(queue, job_id)
    assert delivery.status is DeliveryStatus.PENDING
    assert delivery.log[0].error == "the webhook secret was sealed under another signing secret (DIVISI_SIGNING_SECRET)"


def test_a_keys_own_secret_signs_the_webhooks_of_its_jobs(settings: Settings, serve: Serve, song: bytes) -> None:
    with (
        receiving() as receiver,
        keyed_gateway(settings, serve, webhook_allowed_networks=LOOPBACK) as gateway,
        gateway.caller(key := gateway.make_key(*BOTH)) as caller,
    ):
        data = {"webhook_url": f"http://127.0.0.1:{receiver.port}/"}
        job_url = caller.post("/v1/jobs", files={"file": song}, data=data).headers["location"]
        caller.post(f"{job_url}/cancel")
        assert verified(receiver.next(), key.webhook_secret)["type"] == "job.cancelled"


async def test_nothing_is_told_any_more_in_the_name_of_a_revoked_key(allowing: Settings) -> None:
    with receiving() as receiver:
        async with sending(allowing) as queue:
            key = await KeyRing(queue.door, None).create_key("app", BOTH)
            await KeyRing(queue.door, None).revoke_key(key.key.key_id)
            job_id = await end_job(
                queue, f"http://127.0.0.1:{receiver.port}/", secret=None, owner=f"key:{key.key.key_id}"
            )
            assert (await settled(queue, job_id)).status is DeliveryStatus.FAILED
        assert not receiver.has_more


async def test_an_attempt_that_fails_is_repeated_under_the_same_id_until_it_is_taken(allowing: Settings) -> None:
    with receiving(500, 302, 404, 200) as receiver:
        async with sending(allowing, retry_seconds=FAST) as queue:
            job_id = await end_job(queue, f"http://127.0.0.1:{receiver.port}/")
            messages = [await arrived(receiver) for _ in range(4)]
            delivery = await settled(queue, job_id, attempts=4)
    assert {message.headers["webhook-id"] for message in messages} == {delivery.delivery_id}
    assert len({message.body for message in messages}) == 1
    for message in messages:
        assert verified(message)["type"] == "job.cancelled"
    assert [attempt.status for attempt in delivery.log] == [500, 302, 404, 200]
    assert delivery.status is DeliveryStatus.DELIVERED


async def test_a_redirect_is_not_followed(allowing: Settings) -> None:
    with receiving() as inner, receiving(307, headers={"Location": f"http://127.0.0.1:{inner.port}/"}) as receiver:
        async with sending(allowing) as queue:
            job_id = await end_job(queue, f"http://127.0.0.1:{receiver.port}/")
            delivery = await settled(queue, job_id)
        assert (delivery.log[0].error, delivery.status) == ("answered 307", DeliveryStatus.PENDING)
        assert not inner.has_more


async def test_after_the_last_attempt_it_is_given_up(allowing: Settings) -> None:
    with receiving(503) as receiver:
        async with sending(allowing, retry_seconds=FAST[:2]) as queue:
            job_id = await end_job(queue, f"http://127.0.0.1:{receiver.port}/")
            delivery = await settled(queue, job_id, attempts=3)
            assert (delivery.status, delivery.next_at) == (DeliveryStatus.FAILED, None)


async def test_a_receiver_that_is_gone_is_left_alone(allowing: Settings) -> None:
    with receiving(410) as receiver:
        async with sending(allowing, retry_seconds=FAST) as queue:
            job_id = await end_job(queue, f"http://127.0.0.1:{receiver.port}/")
            assert (await settled(queue, job_id)).status is DeliveryStatus.DISABLED


def test_the_table_of_delays_is_that_of_standard_webhooks() -> None:
    hours = [seconds / 3600 for seconds in RETRY_SECONDS[3:]]
    assert RETRY_SECONDS[:3] == (5, 300, 1800)
    assert hours == [2, 5, 10, 14, 20, 24]


async def test_what_was_due_while_no_gateway_ran_is_sent_by_the_next(allowing: Settings, redis_url: str) -> None:
    with receiving() as receiver:
        async with RedisDoor(redis_url) as door:
            queue = JobQueue(door)
            job_id = await end_job(queue, f"http://127.0.0.1:{receiver.port}/")
        async with sending(allowing) as queue:
            assert verified(await arrived(receiver))["data"]["id"] == job_id
            await settled(queue, job_id)


async def test_several_senders_tell_each_end_once(allowing: Settings) -> None:
    with receiving() as receiver:
        async with sending(allowing) as queue, sending(allowing), sending(allowing):
            job_ids = [await end_job(queue, f"http://127.0.0.1:{receiver.port}/") for _ in range(20)]
            told = [verified(await arrived(receiver))["data"]["id"] for _ in job_ids]
            for job_id in job_ids:
                await settled(queue, job_id)
        assert sorted(told) == sorted(job_ids)
        assert not receiver.has_more


async def test_a_receiver_that_never_answers_costs_one_attempt(allowing: Settings) -> None:
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with sending(allowing.model_copy(update={"webhook_seconds": 0.2})) as queue:
        job_id = await end_job(queue, f"http://127.0.0.1:{port}/")
        delivery = await settled(queue, job_id)
    silent.close()
    assert delivery.log[0].status is None
    assert delivery.log[0].error
    assert delivery.status is DeliveryStatus.PENDING


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
async def test_no_spelling_of_this_machine_is_reached(redis_url: str, host: str) -> None:
    with receiving() as receiver:
        async with sending(Settings(redis_url=redis_url)) as queue:
            job_id = await end_job(queue, f"https://{host}:{receiver.port}/")
            delivery = await settled(queue, job_id)
        assert delivery.log[0].error == "the host is not at a public address"
        assert not receiver.has_more


async def test_a_name_that_leads_inside_a_moment_later_gains_nothing(allowing: Settings) -> None:
    """DNS rebinding: the first answer is checked, and is what is connected to; nobody asks again."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def rebinding(host: str, port: int) -> Sequence[str]:
        assert host == "receiver.test"
        return answers.pop(0)

    with receiving(500) as receiver:
        async with sending(allowing, retry_seconds=FAST, lookup=rebinding) as queue:
            job_id = await end_job(queue, f"http://receiver.test:{receiver.port}/told")
            received = await arrived(receiver)
            delivery = await settled(queue, job_id, attempts=2)
    assert received.headers["host"] == f"receiver.test:{receiver.port}"
    assert [attempt.error for attempt in delivery.log[:2]] == ["answered 500", "the host is not at a public address"]


async def test_one_address_inside_among_others_is_enough_to_refuse(redis_url: str) -> None:
    async def mixed(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", "192.168.1.1"]

    async with sending(Settings(redis_url=redis_url), lookup=mixed) as queue:
        job_id = await end_job(queue, "https://receiver.test/")
        assert (await settled(queue, job_id)).log[0].error == "the host is not at a public address"


async def test_where_one_address_does_not_answer_the_next_is_tried(allowing: Settings) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.9.9.9", "127.0.0.1"]

    with receiving() as receiver:
        async with sending(allowing, lookup=two) as queue:
            job_id = await end_job(queue, f"http://receiver.test:{receiver.port}/")
            assert (await settled(queue, job_id)).status is DeliveryStatus.DELIVERED


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of `receiver.test`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("receiver.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "receiver.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.mark.parametrize(("host", "is_told"), [("receiver.test", True), ("other.test", False)])
async def test_the_certificate_must_be_that_of_the_name_though_the_address_is_called(
    allowing: Settings, certificate: Path, host: str, is_told: bool
) -> None:
    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate))
    with receiving(tls=tls) as receiver:
        async with sending(allowing, lookup=here, trust=trust) as queue:
            job_id = await end_job(queue, f"https://{host}:{receiver.port}/")
            delivery = await settled(queue, job_id)
        assert (delivery.status is DeliveryStatus.DELIVERED) == is_told
        assert receiver.has_more == is_told


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"webhook_url": "http://choir.example/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://10.1.2.3/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://[::ffff:169.254.169.254]/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://me:pass@choir.example/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "ftp://choir.example/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://choir.example:99999/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https:///told", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://chœur.example/", "webhook_secret": SECRET}, "webhook-url-refused"),
        ({"webhook_url": "https://choir.example/"}, "webhook-secret-missing"),
        ({"webhook_url": "https://choir.example/", "webhook_secret": "whsec_c2hvcnQ="}, "invalid-webhook-secret"),
        ({"webhook_url": "https://choir.example/", "webhook_secret": SECRET[6:]}, "invalid-webhook-secret"),
        ({"webhook_secret": SECRET}, "webhook-url-missing"),
    ],
)
def test_what_can_never_be_told_is_refused_with_the_upload(
    http: httpx.Client, gateway: Gateway, song: bytes, fields: dict, code: str
) -> None:
    answer = http.post("/v1/jobs", files={"file": song}, data=fields)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert SECRET not in json.dumps(answer.json())
    assert gateway.objects() == []
