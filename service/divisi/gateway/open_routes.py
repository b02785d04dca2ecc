"""What the service says of itself: alive, ready, metrics; the listening page at `/`, the API reference at `/docs`.

Alive asks nobody; ready asks all the gateway leans on. What the queue counts is counted in Redis, so every gateway
says the same: take the maximum over gateways, not the sum. Pages are open to everybody, and nothing of them comes from
elsewhere: what they show they ask the API for, with the visitor's key.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Awaitable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from divisi.contract.errors import OUTAGE_SECONDS, DivisiError, NotFoundError, UnavailableError
from divisi.contract.request import page_options
from divisi.gateway.answers import problem_of, problem_response
from divisi.gateway.dependencies import GatewayServices, Services, admit
from divisi.gateway.middleware import GatewayMetrics
from divisi.gateway.openapi import GUARDED, problems
from divisi.queue.watching import COUNTERS, Overview, overview
from divisi.queue.worker_side import WorkerState
from divisi.sample import MIXTURE, SOURCES, mixture_path, source_path
from divisi.storage.store_health import require_room
from divisi.timing import in_time

router = APIRouter(tags=["health"])
page_router = APIRouter(include_in_schema=False)  # opens whatever a link to it brings along
asset_router = APIRouter(include_in_schema=False)

_FOLDER = files("divisi.gateway")
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_PACKED = ".gz"
SERVICE_WORKER = "service_worker.js"
# Names for what the queue counts.
COUNTER_NAMES = {
    "accepted": "divisi_jobs_accepted",
    "succeeded": "divisi_jobs_succeeded",
    "failed": "divisi_jobs_failed",
    "cancelled": "divisi_jobs_cancelled",
    "claims": "divisi_claims",
    "handed_back": "divisi_hand_backs",
    "lost_leases": "divisi_leases_lost",
    "reclaimed": "divisi_reclaims",
    "dead_letters": "divisi_jobs_dead_lettered",
    "retried": "divisi_dead_letters_retried",
    "stale_beats": "divisi_stale_beats",
    "stale_commits": "divisi_stale_commits",
}


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
    problem = problem_of("not-ready", 503, f"not ready: {', '.join(away)}", {"checks": facts})
    return problem_response(request, problem, {"Retry-After": str(OUTAGE_SECONDS)})


@router.get(
    "/metrics",
    dependencies=[Depends(admit)],
    summary="Metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(*GUARDED),
    },
)
async def get_metrics(services: GatewayServices) -> Response:
    """Requests by route, and the queue at this moment: depth, age, counts, workers."""
    try:
        now = await overview(services.door)
    except UnavailableError:
        now = None
    return Response(exposition(services.metrics, now), media_type="text/plain; version=0.0.4")


def exposition(metrics: GatewayMetrics, now: Overview | None) -> bytes:
    """All metrics in Prometheus' text format; without the queue's when Redis is away."""
    queue = CollectorRegistry()
    queue.register(_QueueMetrics(now))
    return generate_latest(metrics.registry) + generate_latest(queue)


class _QueueMetrics(Collector):
    """The queue as it stood when it was looked at for this scrape; None: Redis is away."""

    def __init__(self, overview: Overview | None) -> None:
        self._overview = overview

    def collect(self) -> Iterator[Metric]:
        overview = self._overview
        yield GaugeMetricFamily("divisi_queue_up", "1 when Redis answered this scrape.", value=overview is not None)
        if overview is None:
            return
        jobs = GaugeMetricFamily("divisi_queue_jobs", "Jobs that wait or run.", labels=["lane", "state"])
        length = GaugeMetricFamily(
            "divisi_queue_length",
            "Entries of the stream, waiting and running; autoscaling reads it.",
            labels=["lane"],
        )
        oldest = GaugeMetricFamily(
            "divisi_queue_oldest_seconds",
            "How long the oldest waiting job has waited; else 0.",
            labels=["lane"],
        )
        for lane, depth in overview.lanes.items():
            jobs.add_metric([lane.value, "waiting"], depth.waiting)
            jobs.add_metric([lane.value, "running"], depth.running)
            length.add_metric([lane.value], depth.length)
            oldest.add_metric([lane.value], depth.oldest_waiting_seconds)
        yield from (jobs, length, oldest)
        yield GaugeMetricFamily("divisi_dead_letters", "Dead letters that wait for an operator.", overview.dead_letters)
        workers = GaugeMetricFamily("divisi_workers", "Workers seen within a minute, by state.", labels=["state"])
        for state in WorkerState:
            workers.add_metric([state.value], sum(worker.state is state for worker in overview.workers))
        yield workers
        for counter, name in COUNTER_NAMES.items():
            yield CounterMetricFamily(name, COUNTERS[counter], overview.counters.get(counter, 0))


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


@cache
def static_files(folder: str) -> dict[str, bytes]:
    """What page or API reference are made of, by name, read once. Packed files keep their ending."""
    known = {entry.name: entry.read_bytes() for entry in (_FOLDER / folder).iterdir()}
    return {name: data for name, data in known.items() if _suffix(name.removesuffix(_PACKED)) in MEDIA_TYPES}


@page_router.head("/")
@page_router.get("/")
def get_page(request: Request) -> Response:
    """The page itself."""
    return _answer(request, "page", "index.html")


@asset_router.get("/page/sample/{name}.flac")
def get_sample(name: str) -> Response:
    """The sample recording, for visitors without one at hand, and its true sources."""
    if name not in (MIXTURE, *SOURCES):
        raise NotFoundError(f"the sample has no {name!r}; it has {', '.join((MIXTURE, *SOURCES))}", code="not-found")
    path = mixture_path() if name == MIXTURE else source_path(name)
    return FileResponse(path, media_type="audio/flac", headers={"Cache-Control": "no-cache"})


@asset_router.get("/page/options.json")
def get_options() -> list[dict[str, Any]]:
    """The options that visitors choose from."""
    return page_options()


@asset_router.head("/page/vendored/{name}")
@asset_router.get("/page/vendored/{name}")
def get_vendored(request: Request, name: str) -> Response:
    """A module of others that the page loads when it needs it."""
    return _answer(request, "vendored", name)


@asset_router.head("/page/{name}")
@asset_router.get("/page/{name}")
def get_page_file(request: Request, name: str) -> Response:
    """A module, the style sheet or the icon."""
    return _answer(request, "page", name)


@page_router.head("/docs")
@page_router.get("/docs")
def get_reference(request: Request) -> Response:
    """The API reference."""
    return _answer(request, "reference", "index.html")


@asset_router.head("/docs/{name}")
@asset_router.get("/docs/{name}")
def get_reference_file(request: Request, name: str) -> Response:
    """What the API reference is made of."""
    return _answer(request, "reference", name)


@asset_router.head("/openapi.json")
@asset_router.get("/openapi.json")
def get_description(request: Request) -> Response:
    """The API's own description."""
    return JSONResponse(request.app.openapi())


def _answer(request: Request, folder: str, name: str) -> Response:
    known, headers = static_files(folder), {"Cache-Control": "no-cache"}
    packed, body = known.get(name + _PACKED), known.get(name)
    if packed is not None:
        headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers["Content-Encoding"] = packed, "gzip"
        else:
            body = gzip.decompress(packed)
    if body is None or name.endswith(_PACKED):
        raise NotFoundError(f"the page has no file {name!r}", code="not-found")
    root = getattr(request.state, "root_path", "")
    if name == "index.html" and root:
        # From `/divisi`, which proxies serve as well as `/divisi/`, the page's own addresses would lead astray.
        body = body.replace(b'"page/', f'"{root}/page/'.encode())
    if name == SERVICE_WORKER:
        headers["Service-Worker-Allowed"] = "../"  # it answers for the whole page, not for its own folder alone
    # A new version of the service must be seen at the next visit, and an unchanged file not be sent twice.
    headers["ETag"] = etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=MEDIA_TYPES[_suffix(name)], headers=headers)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
