"""Who calls, what they may do and how often: one dependency in front of every route that is not for everybody.

    who is it (401) → within the rate (429) → may they do this (403) → is the job theirs (404, as if it were not there)

It stands before whole routers (`app.py`), so a route that is added later is guarded without saying so. Callers show
`Authorization: Bearer dv_…`; a signed link opens one download without a key. Where no keys are required everybody may
do everything, and limits count addresses, or nothing at all when only this machine can call.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from divisi.access.caller import READING_METHODS, Caller, is_linkable, owner_at, scope_of
from divisi.access.key_ring import Scope, deployment_secret
from divisi.access.limits import WINDOW_SECONDS, Allowance
from divisi.access.signed_links import EXPIRES, SIGNATURE, Link, check_link
from divisi.contract.errors import AccessError, LimitError, NotFoundError
from divisi.gateway.services import GatewayServices, Services
from divisi.settings import Settings


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


async def link_secret(services: Services) -> bytes:
    """What signs this deployment's links."""
    return await deployment_secret(services.settings, services.keys)


def rate_policies(settings: Settings) -> str:
    """Value of RateLimit-Policy; empty when nothing is limited."""
    if settings.is_private:
        return ""
    policies = []
    if settings.requests_per_minute:
        policies.append(f'"requests";q={settings.requests_per_minute};w={WINDOW_SECONDS}')
    if settings.max_upload_bytes_per_day:
        policies.append(f'"upload-bytes";q={settings.max_upload_bytes_per_day};w=86400;qu="content-bytes"')
    return ", ".join(policies)


async def _identify(request: Request, services: Services) -> Caller:
    settings = services.settings
    query = request.query_params
    if request.method in READING_METHODS and is_linkable(_template(request)) and query.get(SIGNATURE):
        asked = [(name, value) for name, value in query.multi_items() if name not in (EXPIRES, SIGNATURE)]
        link = Link(request.scope["path"], tuple(asked))
        check_link(link, query.get(EXPIRES, ""), query[SIGNATURE], await link_secret(services))
        return Caller(None if settings.is_private else _address(request))
    if not settings.require_keys:
        return Caller(None if settings.is_private else _address(request))
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AccessError("this service asks for an API key: `Authorization: Bearer dv_…`", code="key-missing")
    key = await services.keys.recognise(token.strip())
    return Caller(f"key:{key.key_id}", key, sees_all=key.allows(Scope.ADMIN))


async def _count(request: Request, services: Services, owner: str | None) -> None:
    limit = services.settings.requests_per_minute
    if owner is None or not limit or services.settings.is_private:
        return
    allowance = await services.limits.admit_request(owner, limit)
    request.state.answer_headers = _headers(allowance, services.settings)
    if not allowance.is_admitted:
        raise LimitError(
            f"more than {limit} requests within a minute",
            code="rate-limited",
            violated="requests",
            limit=limit,
            retry_after_seconds=max(1, allowance.reset_seconds),
        )


def _headers(allowance: Allowance, settings: Settings) -> dict[str, str]:
    return {
        "RateLimit-Policy": rate_policies(settings),
        "RateLimit": f'"requests";r={allowance.remaining};t={allowance.reset_seconds}',
    }


def _template(request: Request) -> str:
    """The route's path with its parameters in braces."""
    template: str = request.scope["route"].path
    return template


def _address(request: Request) -> str:
    return owner_at(request.client.host if request.client else "unknown")
