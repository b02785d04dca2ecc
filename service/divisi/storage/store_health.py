"""Does an object store take objects, and how often was it away? For readiness, and for Prometheus.

The write probe is asked often, so it is cheap, and leaves nothing of use behind.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, S3Store

from divisi.contract.errors import UnavailableError
from divisi.storage.names import JOBS_PREFIX, UPLOADS_PREFIX

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily

PING_KEY = "ping"
REMEMBERED_SECONDS = 1.0
# Some stores call the condition an error of theirs, and are asked again and again; a probe is waited for two seconds.
CONDITION_SECONDS = 1.0
# A short recording. Larger ones may still find too little and are refused as they come; below this nothing fits.
LEAST_FREE_BYTES = 8 * 1024**2
OPERATIONS = ("put", "get", "head", "list", "delete", "sign")


class WriteProbe:
    """Asks one store. A folder is written to each time; a store behind a network once in `REMEMBERED_SECONDS`.

    There it is asked to make an empty object, but only if there is none: that needs the rights that an upload needs,
    and changes nothing from the second time on.
    """

    def __init__(self, backend: LocalStore | MemoryStore | S3Store, folder: Path | None) -> None:
        self._backend = backend
        self._folder = folder
        self._asking = asyncio.Lock()
        self._taken_at = -math.inf
        self._knows_condition = True

    async def require(self) -> None:
        """Returns when the store takes objects.

        Raises:
            UnavailableError: it says why it does not.
            BaseError, OSError: obstore's, when it does not answer or there is no such bucket.
        """
        if self._folder is not None:
            await asyncio.to_thread(_require_folder, self._folder)
            return
        async with self._asking:
            if time.monotonic() - self._taken_at < REMEMBERED_SECONDS:
                return
            try:
                await self._make_one()
            except (PermissionDeniedError, UnauthenticatedError) as error:
                message = "the object store does not let its user write"
                raise UnavailableError(message, code="store-unavailable") from error
            self._taken_at = time.monotonic()

    async def _make_one(self) -> None:
        if self._knows_condition:
            try:
                async with asyncio.timeout(CONDITION_SECONDS):
                    await obstore.put_async(self._backend, PING_KEY, b"", mode="create")
                return
            except AlreadyExistsError:
                return
            except (NotSupportedError, GenericError, TimeoutError):
                pass  # it is away, or does not know the condition
        await obstore.put_async(self._backend, PING_KEY, b"")
        self._knows_condition = False


def _require_folder(folder: Path) -> None:
    try:
        for place in (folder / JOBS_PREFIX, folder / UPLOADS_PREFIX):
            require_room(place if place.exists() else folder)
    except OSError as error:
        message = f"the object store's folder cannot be written to ({error.strerror})"
        raise UnavailableError(message, code="store-unavailable") from error


def require_room(folder: Path) -> None:
    """Returns when a file can be written to the folder; leaves none behind, even when it is killed.

    Raises:
        OSError: with the reason, such as a disk that is full.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
        probe.write(b"1")
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class StoreErrors:
    """A collector of Prometheus: the sum of counts such as `ObjectStore.failures`, read at each scrape."""

    def __init__(self) -> None:
        self._counts: list[Counter[str]] = []

    def watch(self, failures: Counter[str]) -> None:
        """Shows these counts too, as they stand at each scrape."""
        self._counts.append(failures)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One sample for each operation, also for those that have not failed yet."""
        from prometheus_client.core import CounterMetricFamily  # of the extras of gateway and worker

        family = CounterMetricFamily(
            "divisi_store_errors", "Times the object store was away, by what was asked of it.", labels=["operation"]
        )
        for operation in OPERATIONS:
            family.add_metric([operation], sum(counts[operation] for counts in self._counts))
        yield family
