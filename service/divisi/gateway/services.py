"""What the routes of one gateway share: settings, adapters, metrics, as one value that FastAPI hands around."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from divisi.audio.facts import AudioLimits
from divisi.bundles.store import BundleStore
from divisi.errors import UnavailableError
from divisi.gateway.metrics import Metrics
from divisi.jobs.deliveries import Deliveries
from divisi.jobs.door import RedisDoor
from divisi.jobs.events import EventReader
from divisi.jobs.figures import Figures
from divisi.jobs.job import ManifestFile
from divisi.jobs.keys import KeyRing
from divisi.jobs.limits import Limits
from divisi.jobs.queue import JobQueue
from divisi.jobs.roll_call import RollCall
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore

# A caller learns that Redis or the store is away within this time, even when they hang instead of refusing.
ANSWER_SECONDS = 2.0
# It is waited in so many turns, so that a gateway whose own loop is late does not take a healthy Redis for a silent
# one: what has come meanwhile is read before the next turn begins, and a late turn counts no more than one on time.
_TURNS = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """What one gateway process leans on: the parts of the queue, each over the one door, and the other adapters."""

    settings: Settings
    door: RedisDoor
    queue: JobQueue
    events: EventReader
    figures: Figures
    roll_call: RollCall
    keys: KeyRing
    limits: Limits
    deliveries: Deliveries
    store: ObjectStore
    bundles: BundleStore
    metrics: Metrics
    work_dir: Path  # for what is on its way through this process
    # Practice mixes that are being looked for or made, by the key of their note; see practice_mixes.
    mixes: dict[str, asyncio.Task[ManifestFile]] = field(default_factory=dict)
    # Each inspection is a process that decodes: more at once than there are cores only makes all of them late.
    inspection_places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1))

    @property
    def audio_limits(self) -> AudioLimits:
        """What this deployment accepts of a recording."""
        return AudioLimits(
            max_duration_seconds=self.settings.max_duration_seconds,
            max_channels=self.settings.max_channels,
            inspect_seconds=self.settings.inspect_seconds,
            max_decoded_bytes=self.settings.max_decoded_bytes,
        )


async def in_time(answer: Awaitable[T], name: str) -> T:
    """What an adapter answers, or UnavailableError (code `<name>-unavailable`) when it takes too long."""
    asked = asyncio.ensure_future(answer)
    try:
        for _ in range(_TURNS):
            done, _pending = await asyncio.wait([asked], timeout=ANSWER_SECONDS / _TURNS)
            if done:
                return asked.result()
    finally:
        if not asked.done():
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    raise UnavailableError(f"the {name} does not answer", code=f"{name}-unavailable")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


GatewayServices = Annotated[Services, Depends(_services)]
