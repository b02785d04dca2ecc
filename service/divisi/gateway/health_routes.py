"""Is the gateway alive, is it ready, and how is it doing. Alive asks nobody; ready asks all it leans on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from divisi.contract.errors import DivisiError, UnavailableError
from divisi.gateway.access import admit
from divisi.gateway.openapi import problems
from divisi.gateway.problems import problem_response
from divisi.gateway.services import GatewayServices, Services
from divisi.jobs.overview import overview
from divisi.scratch import require_room
from divisi.timing import in_time

router = APIRouter(tags=["health"])


class AliveBody(BaseModel):
    """The process answers."""

    status: str = "alive"


class CheckBody(BaseModel):
    """How one thing that the gateway leans on answered."""

    is_ready: bool
    milliseconds: float
    detail: str | None = None


class ReadyBody(BaseModel):
    """Everything that the gateway leans on answers."""

    status: str = "ready"
    checks: dict[str, CheckBody] = Field(description="By name: redis, store, models.")


@router.get("/livez", response_model=AliveBody, summary="Alive?")
async def is_alive() -> AliveBody:
    """Answers as long as the process does; touches neither Redis nor the store."""
    return AliveBody()


@router.get("/readyz", response_model=ReadyBody, summary="Ready?", responses=problems(503))
async def is_ready(request: Request, services: GatewayServices) -> Any:
    """Asks whether an upload would be accepted: Redis and the object store are asked to write, which leaves nothing
    behind, and the model store is looked into. Says which of them is away, and why.
    """
    names = ("redis", "store", "models")
    asked = (services.door.require_writes(), _find_room(services), _find_models(services))
    checks = dict(zip(names, await asyncio.gather(*map(_check, asked, names)), strict=True))
    away = [name for name, check in checks.items() if not check.is_ready]
    if not away:
        return ReadyBody(checks=checks)
    facts = {name: check.model_dump() for name, check in checks.items()}
    detail = f"not ready: {', '.join(away)}"
    return problem_response(request, "not-ready", 503, detail, facts={"checks": facts}, headers={"Retry-After": "5"})


@router.get(
    "/metrics",
    dependencies=[Depends(admit)],
    summary="Metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
async def get_metrics(services: GatewayServices) -> Response:
    """Requests by route, and the queue at this moment: depth, age, counts, workers."""
    try:
        now = await overview(services.door)
    except UnavailableError:
        now = None
    return Response(services.metrics.render(now), media_type="text/plain; version=0.0.4")


async def _check(asked: Awaitable[Any], name: str) -> CheckBody:
    started = time.perf_counter()
    detail = None
    try:
        await in_time(asked)
    except TimeoutError:
        detail = f"the {name} does not answer"
    except DivisiError as error:
        detail = error.message
    return CheckBody(
        is_ready=detail is None, milliseconds=round((time.perf_counter() - started) * 1000, 1), detail=detail
    )


async def _find_room(services: Services) -> None:
    try:
        await asyncio.to_thread(require_room, services.work_dir)
    except OSError as error:
        message = f"the folder for uploads on their way (DIVISI_WORK_DIR) cannot be written to ({error.strerror})"
        raise UnavailableError(message, code="disk-full") from error
    await services.store.require_writes()


async def _find_models(services: Services) -> None:
    if not await asyncio.to_thread(services.bundles.model_ids):
        raise UnavailableError("the model store is empty")
