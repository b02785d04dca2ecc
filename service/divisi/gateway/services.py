"""What the routes of one gateway share: settings, adapters, metrics, as one value that FastAPI hands around."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from divisi.access.key_ring import KeyRing
from divisi.access.limits import Limits
from divisi.audio.facts import AudioLimits
from divisi.bundles.store import BundleStore
from divisi.contract.manifest import ManifestFile
from divisi.door.redis_door import RedisDoor
from divisi.gateway.gateway_metrics import GatewayMetrics
from divisi.jobs.events import EventReader
from divisi.jobs.figures import Figures
from divisi.jobs.queue import JobQueue
from divisi.jobs.roll_call import RollCall
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore
from divisi.webhooks.deliveries import Deliveries


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
    metrics: GatewayMetrics
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


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


GatewayServices = Annotated[Services, Depends(_services)]
