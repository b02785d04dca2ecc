"""What a webhook says, and what became of a job's webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from divisi.contract.job import Job
from divisi.gateway.bodies import job_body
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import problems
from divisi.gateway.services import GatewayServices
from divisi.webhooks.deliveries import Delivery, DeliveryStatus

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


class DeliveryAttemptBody(BaseModel):
    """How one attempt went."""

    at: datetime
    status: int | None = Field(None, description="HTTP status of the receiver's answer, if there was one.")
    error: str | None = Field(None, description="Why it counts as failed.")
    seconds: float


class DeliveryBody(BaseModel):
    """One event that is told: repeated until the receiver answers 2xx."""

    id: str = Field(description="The `webhook-id` of every attempt.")
    type: str = Field(examples=["job.succeeded"])
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    log: list[DeliveryAttemptBody]


class DeliveryListBody(BaseModel):
    """The webhooks of one job, oldest first."""

    webhook_url: str | None = Field(None, description="null: the job asked for none.")
    deliveries: list[DeliveryBody]


@router.get(
    "/deliveries", response_model=DeliveryListBody, summary="Look at webhooks", responses=problems(404, 422, 503)
)
async def list_deliveries(job_id: JobId, services: GatewayServices) -> DeliveryListBody:
    """Every attempt to tell the job's end to its `webhook_url`. Empty before the job has ended."""
    job = await services.queue.get(job_id)
    deliveries = await services.deliveries.deliveries(job_id)
    return DeliveryListBody(webhook_url=job.webhook_url, deliveries=[_body(delivery) for delivery in deliveries])


def message_of(job: Job, root: str, event: str) -> bytes:
    """The body: what happened, when, and the job as `GET /v1/jobs/{id}` answers it."""
    message = {
        "type": f"job.{event}",
        "timestamp": datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC).isoformat(),
        "data": job_body(job, root).model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(message, separators=(",", ":")).encode()


def _body(delivery: Delivery) -> DeliveryBody:
    return DeliveryBody(
        id=delivery.delivery_id,
        type=f"job.{delivery.event}",
        status=delivery.status,
        attempts=delivery.attempts,
        created_at=_time(delivery.created_at),
        next_attempt_at=_time(delivery.next_at) if delivery.next_at else None,
        log=[
            DeliveryAttemptBody(at=_time(one.at), status=one.status, error=one.error, seconds=one.seconds)
            for one in delivery.log
        ],
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
