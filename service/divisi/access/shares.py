"""A caller's share of a day's uploads: asked for before an upload, taken with it, returned if nothing comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from divisi.access.caller import Caller
from divisi.access.limits import Limits, UploadQuota
from divisi.contract.errors import UnavailableError
from divisi.settings import Settings


@dataclass
class Shares:
    """What an upload took; returned unless it is kept."""

    is_kept: bool = False


async def require_share(limits: Limits, caller: Caller, settings: Settings) -> None:
    """Refuses before the body is read when nothing of the caller's day is left.

    Raises:
        LimitError: `upload-quota-used-up`.
    """
    if caller.owner is not None:
        await limits.spend_upload(caller.owner, _quota(settings))


@asynccontextmanager
async def shares_spent(
    limits: Limits, caller: Caller, settings: Settings, num_bytes: int, audio_seconds: float
) -> AsyncIterator[Shares]:
    """Takes an upload off the caller's day; gives it back when nothing new came of it.

    Raises:
        LimitError: `upload-quota-used-up`.
    """
    shares = Shares()
    if caller.owner is None:
        yield shares
        return
    quota = _quota(settings)
    await limits.spend_upload(caller.owner, quota, num_bytes, audio_seconds)
    try:
        yield shares
    finally:
        if not shares.is_kept:
            with suppress(UnavailableError):  # the day ends by itself
                back = limits.spend_upload(caller.owner, quota, -num_bytes, -audio_seconds)
                await asyncio.shield(back)


def _quota(settings: Settings) -> UploadQuota:
    return UploadQuota(settings.max_upload_bytes_per_day, settings.max_audio_seconds_per_day)
