"""Webhook deliveries: which are due, who sends them now, how each attempt went. At least once, one sender an attempt.

A delivery is made by the very script that ends a job (shared.lua), so it survives whatever the job survives. A sender
claims it for one attempt (`deliver.lua`) and settles it (`settle.lua`); if the sender dies in between, it is due again
when the claim's lease is over. It ends with its job's record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from divisi.contract.job import Job
from divisi.queue.redis_door import MOST_BLOCKING_SECONDS, RedisDoor

# How long a 410 counts. Later jobs that name the address again are not held back by it.
_GONE_SECONDS = 8 * 24 * 3600


class DeliveryStatus(StrEnum):
    """pending → delivered | failed (gave up) | disabled (410) | superseded (the job was run again)."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISABLED = "disabled"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class DeliveryAttempt:
    """How one attempt went. `at`: Unix seconds; `status`: HTTP's, None without an answer, `error` then says why."""

    at: float
    status: int | None
    error: str | None
    seconds: float


@dataclass(frozen=True)
class Delivery:
    """The end of a job, to be sent. `attempts` counts those begun, `log` has those whose outcome is known."""

    delivery_id: str
    event: str
    status: DeliveryStatus
    attempts: int
    created_at: float
    next_at: float | None
    log: tuple[DeliveryAttempt, ...]


@dataclass(frozen=True)
class DueDelivery:
    """The right to one attempt: `attempt` is its fencing token. `event` is the state that `job` ended in."""

    delivery_id: str
    attempt: int
    event: str
    job: Job


@dataclass(frozen=True)
class NothingDue:
    """`seconds` until the next delivery is due (None: none waits); `bell` for `wait_for_delivery`."""

    seconds: float | None
    bell: str


class Deliveries:
    """The queue of deliveries."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def claim_delivery(self, lease_seconds: float) -> DueDelivery | NothingDue:
        """The delivery that is due first. Settle it within the lease, or another sender gets it."""
        kind, *rest = await self.door.run("deliver", int(lease_seconds * 1000))
        if kind == "none":
            bell, milliseconds = rest
            return NothingDue(None if milliseconds < 0 else milliseconds / 1000, bell)
        delivery_id, attempt, event, *pairs = rest
        job = Job.from_hash(dict(zip(pairs[::2], pairs[1::2], strict=True)))
        return DueDelivery(delivery_id, attempt, event, job)

    async def settle_delivery(
        self, due: DueDelivery, attempt: DeliveryAttempt, status: DeliveryStatus, retry_seconds: float = 0
    ) -> bool:
        """Notes how an attempt went; `pending` has another made after `retry_seconds`. False when it came too late."""
        line = _ATTEMPT.dump_json(attempt).decode()
        answer = await self.door.run(
            "settle",
            due.delivery_id,
            due.attempt,
            status.value,
            int(retry_seconds * 1000),
            line,
            _GONE_SECONDS * 1000,
        )
        return bool(answer == "ok")

    async def wait_for_delivery(self, nothing: NothingDue) -> None:
        """Returns when a delivery was made, the next is due, or some seconds have passed."""
        seconds = MOST_BLOCKING_SECONDS if nothing.seconds is None else min(nothing.seconds, MOST_BLOCKING_SECONDS)
        block_ms = max(1, int(seconds * 1000))
        bell = self.door.key("webhooks", "bell")
        await self.door.ask(self.door.redis.xread({bell: nothing.bell}, count=1, block=block_ms), seconds)

    async def deliveries(self, job_id: str) -> tuple[Delivery, ...]:
        """All deliveries of a job, oldest first."""
        delivery_ids = await self.door.ask(self.door.redis.lrange(self.door.key("webhooks", "of", job_id), 0, -1))
        found = [await self._delivery(delivery_id) for delivery_id in delivery_ids]
        return tuple(delivery for delivery in found if delivery)

    async def _delivery(self, delivery_id: str) -> Delivery | None:
        pipe = self.door.redis.pipeline(transaction=True)
        pipe.hgetall(self.door.key("webhooks", "delivery", delivery_id))
        pipe.lrange(self.door.key("webhooks", "log", delivery_id), 0, -1)
        values, lines = await self.door.ask(pipe.execute())
        if not values:
            return None
        next_at = values.get("next_at")
        return Delivery(
            delivery_id,
            values["event"],
            DeliveryStatus(values["status"]),
            int(values["attempts"]),
            int(values["created_at"]) / 1000,
            int(next_at) / 1000 if next_at else None,
            tuple(_ATTEMPT.validate_json(line) for line in lines),
        )


_ATTEMPT: TypeAdapter[DeliveryAttempt] = TypeAdapter(DeliveryAttempt)
