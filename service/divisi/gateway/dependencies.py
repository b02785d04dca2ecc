"""What stands before the routes: the services they share, who calls, and which parameters a query may have.

    who is it (401) → within the rate (429) → may they do this (403) → is the job theirs (404, as if it were not there)

`admit` stands before whole routers (`app.py`), so a route that is added later is guarded without saying so. Callers
show `Authorization: Bearer dv_…`; a signed link opens one download without a key. Where no keys are required everybody
may do everything, and limits count addresses, or nothing at all when only this machine can call.
"""

from __future__ import annotations

import asyncio
import os
import time
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from divisi.access.callers import (
    EXPIRES,
    READING_METHODS,
    SIGNATURE,
    WINDOW_SECONDS,
    Caller,
    Limits,
    Link,
    Links,
    UploadQuota,
    check_link,
    is_linkable,
    owner_at,
    scope_of,
)
from divisi.access.key_ring import KeyRing, Scope
from divisi.access.sources import Sources
from divisi.audio.recording import AudioLimits
from divisi.bootstrap import Scratch, open_bucket
from divisi.contract.errors import AccessError, LimitError, NotFoundError
from divisi.contract.manifest import ManifestFile
from divisi.contract.request import values_of
from divisi.gateway.middleware import GatewayMetrics
from divisi.gateway.multipart_form import scratch_folder
from divisi.models.bundle import BundleStore
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import EventReader, Figures
from divisi.queue.worker_side import RollCall
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore
from divisi.tracks.shelf import TrackShelf
from divisi.webhooks.deliveries import Deliveries


class Services:
    """What one gateway process leans on: settings, the parts of the queue, each over the one door, other adapters."""

    def __init__(self, settings: Settings, door: RedisDoor, store: ObjectStore, bundles: BundleStore) -> None:
        self.settings, self.door, self.store, self.bundles = settings, door, store, bundles
        self.queue, self.events = JobQueue(door), EventReader(door)
        self.figures, self.roll_call = Figures(door), RollCall(door)
        self.keys, self.limits = KeyRing(door, settings.signing_secret), Limits(door)
        self.deliveries = Deliveries(door)
        self.sources = Sources(settings, lambda bucket: open_bucket(settings, bucket))
        self.metrics = GatewayMetrics(store.failures)
        self.scratch = Scratch(settings.work_dir, "gateway")
        # Practice mixes that are being looked for or made, by the key of their note; see `on_demand.py`.
        self.mixes: dict[str, asyncio.Task[ManifestFile]] = {}
        # Held between looking at what is kept and keeping something else.
        self.rehearsals = asyncio.Lock()
        # Each inspection is a process that decodes: more at once than there are cores only makes all of them late.
        self.inspection_places = asyncio.Semaphore(os.cpu_count() or 1)
        self.tracks = TrackShelf(
            store,
            self.queue,
            # Of their own: a set takes minutes, and no upload shall wait so long to be examined.
            asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2)),
            lambda: scratch_folder(self.work_dir, "divisi-tracks-"),
            self.metrics.count_mix,
        )

    @property
    def work_dir(self) -> Path:
        """For what is on its way through this process; there while the app runs."""
        return self.scratch.path

    @property
    def upload_quota(self) -> UploadQuota:
        """What one caller may upload in a day."""
        return UploadQuota(self.settings.max_upload_bytes_per_day, self.settings.max_audio_seconds_per_day)

    @property
    def audio_limits(self) -> AudioLimits:
        """What this deployment accepts of a recording."""
        return AudioLimits(
            max_duration_seconds=self.settings.max_duration_seconds,
            max_channels=self.settings.max_channels,
            inspect_seconds=self.settings.inspect_seconds,
            max_decoded_bytes=self.settings.max_decoded_bytes,
        )


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


GatewayServices = Annotated[Services, Depends(_services)]


def _never_store(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"


NEVER_STORED = Depends(_never_store)


async def admit(request: Request, services: GatewayServices) -> None:
    """Lets the request pass, with its caller in `request.state.caller`, or refuses it.

    Raises:
        AccessError: no key or a wrong one, or a key that may not do this; a wrong or expired link.
        LimitError: too many requests (`rate-limited`).
        NotFoundError: the job is another caller's (`unknown-job`).
    """
    try:
        caller = await _identify(request, services)
    except AccessError:
        await _count(request, services, _address(request))  # guessing is limited, too
        raise
    await _count(request, services, caller.owner)
    request.state.caller = caller
    scope = scope_of(request.method, _template(request))
    if caller.key is not None and scope is not None and not caller.key.allows(scope):
        raise AccessError(f"this API key may not do that; it lacks {scope.value}", code="scope-missing", scope=scope)
    job_id = request.path_params.get("job_id")
    if job_id is not None and not caller.sees_all and await services.queue.owner_of(job_id) != caller.owner:
        raise NotFoundError(f"There is no job {job_id}", code="unknown-job")


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


GatewayCaller = Annotated[Caller, Depends(_caller)]


async def _identify(request: Request, services: Services) -> Caller:
    settings = services.settings
    query = request.query_params
    if request.method in READING_METHODS and is_linkable(_template(request)) and query.get(SIGNATURE):
        asked = [(name, value) for name, value in query.multi_items() if name not in (EXPIRES, SIGNATURE)]
        link = Link(request.scope["path"], tuple(asked))
        check_link(link, query.get(EXPIRES, ""), query[SIGNATURE], await services.keys.deployment_secret())
    elif settings.require_keys:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AccessError("this service asks for an API key: `Authorization: Bearer dv_…`", code="key-missing")
        key = await services.keys.recognise(token.strip())
        return Caller(f"key:{key.key_id}", key, sees_all=key.allows(Scope.ADMIN))
    return Caller(None if settings.is_private else _address(request))


async def signed(request: Request, services: Services, body: BaseModel) -> Any:
    """The body with every address that a link may open turned into such a link."""
    root = services.settings.root_path
    until = request.query_params.get(EXPIRES) if request.query_params.get(SIGNATURE) else None
    expires_at = int(until or time.time() + services.settings.link_seconds)
    links = Links(root, expires_at, await services.keys.deployment_secret())

    def sign(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: sign(part) for name, part in value.items()}
        if isinstance(value, list):
            return [sign(part) for part in value]
        if not isinstance(value, str) or not value.startswith((f"{root}/v1/jobs/", f"{root}/v1/groups/")):
            return value
        path, _, query = value.removeprefix(root).partition("?")
        return links.to(path, query) if is_linkable(path) else value

    return sign(body.model_dump(mode="json"))


async def _count(request: Request, services: Services, owner: str | None) -> None:
    settings, limit = services.settings, services.settings.requests_per_minute
    if owner is None or not limit or settings.is_private:
        return
    allowance = await services.limits.admit_request(owner, limit)
    policies = [f'"requests";q={limit};w={WINDOW_SECONDS}']
    if settings.max_upload_bytes_per_day:
        policies.append(f'"upload-bytes";q={settings.max_upload_bytes_per_day};w=86400;qu="content-bytes"')
    request.state.answer_headers = {
        "RateLimit-Policy": ", ".join(policies),
        "RateLimit": f'"requests";r={allowance.remaining};t={allowance.reset_seconds}',
    }
    if not allowance.is_admitted:
        raise LimitError(
            f"more than {limit} requests within a minute",
            code="rate-limited",
            violated="requests",
            limit=limit,
            retry_after_seconds=max(1, allowance.reset_seconds),
        )


def _template(request: Request) -> str:
    """The route's path with its parameters in braces."""
    template: str = request.scope["route"].path
    return template


def _address(request: Request) -> str:
    return owner_at(request.client.host if request.client else "unknown")


def in_query(model: type[BaseModel]) -> Any:
    """The dependency that reads a model from the query: a parameter a field, lists repeated or joined by commas."""

    async def read(request: Request, **read: Any) -> BaseModel:
        given = {name: value for name, value in read.items() if name in request.query_params}
        values = {
            name: list(filter(None, values_of(value))) if isinstance(value, list) else value
            for name, value in given.items()
        }
        try:
            return model.model_validate(values)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in problems]) from error

    read.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter("request", Parameter.KEYWORD_ONLY, annotation=Request),
            *(_query_parameter(name, field) for name, field in model.model_fields.items()),
        ]
    )
    return Depends(read)


def _query_parameter(name: str, field: FieldInfo) -> Parameter:
    is_list = field.default == ()
    kind: Any = list[str] if is_list else field.annotation
    query = Query(description=field.description, json_schema_extra=field.json_schema_extra)
    annotation = Annotated[(kind, *field.metadata, query)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=[] if is_list else field.default, annotation=annotation)


async def refuse_unknown_names(request: Request) -> None:
    """Lets the request pass, or refuses it with a pointer to each parameter that it cannot have.

    A misspelt parameter would take its default in silence, on a read as on a submit. What an operation takes stands in
    the OpenAPI document.

    Raises:
        RequestValidationError: unknown, or given twice.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if not given:
        return
    template, method = request.scope["route"].path, request.method
    operation = request.app.openapi()["paths"].get(template, {}).get(method.lower(), {})
    is_list = {
        parameter["name"]: parameter["schema"].get("type") == "array"
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    if method in READING_METHODS and is_linkable(template):
        is_list |= {EXPIRES: False, SIGNATURE: False}
    problems = []
    for name in dict.fromkeys(given):
        if name not in is_list:
            message = f"there is no such parameter; there are: {', '.join(is_list) or 'none'}"
            problems.append({"loc": ("query", name), "msg": message, "type": "extra_forbidden"})
        elif given.count(name) > 1 and not is_list[name]:
            problems.append({"loc": ("query", name), "msg": "give this parameter once", "type": "repeated"})
    if problems:
        raise RequestValidationError(problems)
