"""A caller's share of the service: unfinished jobs and a day's uploads, asked for before and taken with an upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from divisi.errors import UnavailableError
from divisi.gateway.access import Caller
from divisi.gateway.services import Services
from divisi.jobs.limits import UploadQuota


@dataclass
class Shares:
    """What an upload took; given back unless it is kept."""

    is_kept: bool = False


async def require_share(services: Services, caller: Caller) -> None:
    """Refuses before the body is read when nothing of the caller's share is left.

    Raises:
        LimitError: `too-many-unfinished-jobs`, `upload-quota-used-up`.
    """
    if caller.owner is None:
        return
    await services.queue.require_job_room(caller.owner, services.settings.max_unfinished_jobs)
    await services.limits.spend_upload(caller.owner, _quota(services))


@asynccontextmanager
async def shares_spent(
    services: Services, caller: Caller, num_bytes: int, audio_seconds: float
) -> AsyncIterator[Shares]:
    """Takes an upload off the caller's day; gives it back when nothing new came of it.

    Raises:
        LimitError: `upload-quota-used-up`.
    """
    shares = Shares()
    if caller.owner is None:
        yield shares
        return
    quota = _quota(services)
    await services.limits.spend_upload(caller.owner, quota, num_bytes, audio_seconds)
    try:
        yield shares
    finally:
        if not shares.is_kept:
            with suppress(UnavailableError):  # the day ends by itself
                back = services.limits.spend_upload(caller.owner, quota, -num_bytes, -audio_seconds)
                await asyncio.shield(back)


def _quota(services: Services) -> UploadQuota:
    settings = services.settings
    return UploadQuota(settings.max_upload_bytes_per_day, settings.max_audio_seconds_per_day)
