"""What a submit may ask of webhooks, and the sender: as they fall due, signed, in the background of every gateway.

    claim a delivery → look up and check its address → POST, signed → settle: delivered, again later, or given up

A delivery is sent at least once: a sender that dies after the POST and before it settled has it sent again, under the
same `webhook-id`. Redirects are not followed, proxies not asked, answers not read beyond their status. The signature is
that of Standard Webhooks 1.0.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version

import httpx
from standardwebhooks import Webhook

from divisi import DISTRIBUTION
from divisi.access.address import AddressRefusedError, Guard, Lookup, client_for
from divisi.access.callers import Caller
from divisi.access.key_ring import KeyRing, SealError, check_webhook_secret, unseal
from divisi.contract.errors import InputError, UnavailableError
from divisi.contract.job import Job
from divisi.contract.request import SeparationRequest
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings, listed
from divisi.telemetry import get_logger
from divisi.webhooks.deliveries import Deliveries, DeliveryAttempt, DeliveryStatus, DueDelivery, NothingDue

log = get_logger(__name__)

# Standard Webhooks' table: ten attempts within three days, or until the job's record is erased.
RETRY_SECONDS = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
# Up to this share is added to a delay: receivers that fell over are not met by everybody at once.
JITTER = 0.2
MOST_AT_ONCE = 16
# Longer than any attempt can take; then another sender may have it.
LEASE_MARGIN_SECONDS = 15.0
_REDIS_RETRY_SECONDS = 1.0
_GONE = 410


class WebhookSender:
    """Sends what is due until `run` is cancelled."""

    def __init__(
        self,
        door: RedisDoor,
        settings: Settings,
        message_of: Callable[[Job, str, str], bytes],
        *,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
        lookup: Lookup | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            door: to the Redis with the deliveries and the keys.
            settings: networks that are allowed, how long an attempt may take, what stands in front of addresses.
            message_of: the body for a job, the path in front of addresses, and the state that it ended in.
            retry_seconds: delays between attempts; one more attempt is made than there are delays.
            lookup: finds the addresses of a host; None: the system.
            trust: whose certificates count; None: the public authorities, or SSL_CERT_FILE's.
        """
        self._deliveries = Deliveries(door)
        self._keys = KeyRing(door, settings.signing_secret)
        self._settings = settings
        self._message_of = message_of
        self._seconds = settings.webhook_seconds
        self._retry_seconds = retry_seconds
        self._guard = guard_of(settings, lookup)
        self._trust = trust

    async def run(self) -> None:
        """Sends as deliveries fall due. An attempt that is cut off by the end is made again by whoever comes next."""
        places = asyncio.Semaphore(MOST_AT_ONCE)
        async with client_for(self._seconds, self._trust) as client, asyncio.TaskGroup() as sending:
            while True:
                await places.acquire()
                due = await self._next()
                sending.create_task(self._send(client, due)).add_done_callback(lambda _: places.release())

    async def _next(self) -> DueDelivery:
        is_away = False
        while True:
            try:
                found = await self._deliveries.claim_delivery(self._seconds + LEASE_MARGIN_SECONDS)
                if not isinstance(found, NothingDue):
                    return found
                is_away = False
                await self._deliveries.wait_for_delivery(found)
            except UnavailableError as error:
                if not is_away:
                    log.warning("webhooks wait for Redis", reason=error.message)
                is_away = True
                await asyncio.sleep(_REDIS_RETRY_SECONDS)

    async def _send(self, client: httpx.AsyncClient, due: DueDelivery) -> None:
        bound = log.bind(job_id=due.job.job_id, delivery_id=due.delivery_id, attempt=due.attempt)
        began, clock = time.time(), time.monotonic()
        status, error, has_given_up = None, None, False
        try:
            secret = await self._secret(due.job)
            if secret is None:
                error, has_given_up = "the API key that signs it was revoked", True
            else:
                async with asyncio.timeout(self._seconds):
                    status = await self._post(client, due, secret)
        except (AddressRefusedError, SealError) as refusal:
            error = str(refusal)
        except TimeoutError:
            error = f"no answer within {self._seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
            error = f"no connection: {type(failure).__name__}"
        except UnavailableError:
            return  # without Redis nothing can be settled; the lease ends
        except Exception:  # whatever it was must not end the sender
            log.exception("webhook attempt failed unexpectedly", delivery_id=due.delivery_id)
            error = "an error on our side"
        if status is not None and not 200 <= status < 300:
            error = f"answered {status}"
        outcome, delay = self._outcome(due.attempt, status, has_given_up)
        line = DeliveryAttempt(round(began, 3), status, error, round(time.monotonic() - clock, 3))
        try:
            await self._deliveries.settle_delivery(due, line, outcome, delay)
        except UnavailableError as failure:
            bound.warning("webhook attempt not noted", reason=failure.message)
            return
        bound.info("webhook attempt", outcome=outcome.value, status=status, reason=error)

    async def _secret(self, job: Job) -> str | None:
        if job.webhook_secret is not None:
            return unseal(job.webhook_secret, job.job_id, await self._keys.deployment_secret())
        return await self._keys.webhook_secret((job.owner or "").removeprefix("key:"))

    async def _post(self, client: httpx.AsyncClient, due: DueDelivery, secret: str) -> int:
        assert due.job.webhook_url is not None
        body, now = self._message_of(due.job, self._settings.root_path, due.event), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"divisi/{version(DISTRIBUTION)}",
            "webhook-id": due.delivery_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature_of(secret, due.delivery_id, now, body),
        }
        answer = await self._guard.send(client, "POST", due.job.webhook_url, headers, body)
        await answer.aclose()
        return answer.status_code

    def _outcome(self, attempt: int, status: int | None, has_given_up: bool) -> tuple[DeliveryStatus, float]:
        if status is not None and 200 <= status < 300:
            return DeliveryStatus.DELIVERED, 0.0
        if status == _GONE:
            return DeliveryStatus.DISABLED, 0.0
        if has_given_up or attempt > len(self._retry_seconds):
            return DeliveryStatus.FAILED, 0.0
        return DeliveryStatus.PENDING, self._retry_seconds[attempt - 1] * random.uniform(1.0, 1.0 + JITTER)


def signature_of(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Value of `webhook-signature`.

    Args:
        secret: `whsec_…`.
        timestamp: Unix seconds, as in `webhook-timestamp`.
    """
    return Webhook(secret).sign(delivery_id, datetime.fromtimestamp(timestamp, UTC), body.decode())


def guard_of(settings: Settings, lookup: Lookup | None = None) -> Guard:
    """Which addresses webhooks may go to; `lookup` finds those of a host, None: the system."""
    return Guard([ipaddress.ip_network(text) for text in listed(settings.webhook_allowed_networks)], lookup=lookup)


def check_webhook(options: SeparationRequest, caller: Caller, settings: Settings) -> None:
    """Refuses an address that nothing may be sent to, and a webhook that nothing would sign.

    Raises:
        InputError: `webhook-url-refused`, `invalid-webhook-secret`, `webhook-secret-missing`, `webhook-url-missing`.
    """
    if options.webhook_secret is not None:
        check_webhook_secret(options.webhook_secret)
    if options.webhook_url is None:
        if options.webhook_secret is not None:
            raise InputError("there is a webhook_secret and no webhook_url", code="webhook-url-missing")
        return
    try:
        guard_of(settings).check(options.webhook_url)
    except AddressRefusedError as refusal:
        raise InputError(f"webhook_url is refused: {refusal}", code="webhook-url-refused") from None
    if options.webhook_secret is None and caller.key is None:
        raise InputError(
            "give a webhook_secret (`whsec_…`) with the webhook_url: without an API key there is no other to sign with",
            code="webhook-secret-missing",
        )
