"""The gateway's app and its process: routes, error documents, metrics, and what starts and stops with them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import NoReturn

import uvicorn
from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from divisi import DISTRIBUTION
from divisi.bootstrap import end_process, open_bundles, open_door, open_store
from divisi.contract.errors import UnavailableError
from divisi.gateway import comparison_folder, comparisons, files, jobs, models, on_demand, open_routes
from divisi.gateway.answers import install_error_handlers
from divisi.gateway.dependencies import Services, admit, refuse_unknown_names
from divisi.gateway.middleware import CROSS_ORIGIN, AnswerHeaders, RequestContext, RootPath
from divisi.gateway.openapi import ANYWHERE, DESCRIPTION, GUARDED, install_openapi, problems
from divisi.life import keep_reconciled
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings, listed
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import configure_tracing, get_logger, stop_tracing
from divisi.webhooks.sender import WebhookSender

log = get_logger(__name__)

# Running downloads and uploads may go on this long after SIGTERM; clients resume downloads, and repeat uploads.
STOP_SECONDS = 10


def create_app(settings: Settings, door: RedisDoor, store: ObjectStore, bundles: BundleStore) -> FastAPI:
    """The app over given adapters. It connects to Redis when it starts and lets go of it when it stops.

    Redis need not be there at the start: until it is, the app is alive but not ready.
    """
    services = Services(settings, door, store, bundles)
    # The framework's pages fetch scripts from elsewhere; ours are in `open_routes`.
    app = FastAPI(
        title="divisi",
        version=version(DISTRIBUTION),
        description=DESCRIPTION,
        openapi_url=None,
        redirect_slashes=False,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        generate_unique_id_function=lambda route: route.name,
        responses=problems(*ANYWHERE),
        lifespan=lambda _: _running(services),
    )
    app.state.services = services
    is_known_query = Depends(refuse_unknown_names)
    app.include_router(open_routes.page_router)
    for router in (open_routes.router, open_routes.asset_router):
        app.include_router(router, dependencies=[is_known_query])
    for router in (
        *(jobs.router, comparisons.router, comparison_folder.router, files.router, on_demand.router),
        *(comparisons.job_router, models.router),
    ):
        app.include_router(router, dependencies=[Depends(admit), is_known_query], responses=problems(*GUARDED))
    install_error_handlers(app)
    install_openapi(app, settings)
    # The last one added is the outermost.
    app.add_middleware(RequestContext, metrics=services.metrics)
    if settings.root_path:
        app.add_middleware(RootPath, root_path=settings.root_path)
    if origins := listed(settings.cors_origins):
        app.add_middleware(CORSMiddleware, allow_origins=origins, **CROSS_ORIGIN)
    app.add_middleware(AnswerHeaders, settings=settings)
    return app


@asynccontextmanager
async def _running(services: Services) -> AsyncIterator[None]:
    """Around the app's life: its connection, its folder, and what it does in the background."""
    door, settings = services.door, services.settings
    try:
        await door.connect()
    except UnavailableError as error:
        log.warning("started without Redis", reason=error.message)
    background = [
        asyncio.create_task(keep_reconciled(services.queue, services.store)),
        asyncio.create_task(WebhookSender(door, settings, jobs.message_of).run()),
    ]
    try:
        with services.scratch:
            yield
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await door.close()


def run_gateway(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then answers what is under way and ends the process."""
    # The server has a signal to itself while it serves, and hands it on when all is answered. Here and not after it has
    # returned: closing its event loop would wait for names that are being looked up, for as long as no server of names
    # answers. By default the signal would kill the process, and an orderly stop would look like a crash.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    configure_tracing("divisi-gateway", settings.otel_endpoint)
    app = create_app(settings, open_door(settings), open_store(settings), open_bundles(settings))
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # ours is in place
        access_log=False,  # one line for each request comes from RequestContext
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _end(*_: object) -> NoReturn:
    stop_tracing()
    end_process()
