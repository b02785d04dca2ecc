"""How a process of a deployment begins and ends. Settings → its adapters, for Redis, object store and model store.

Stands between the entry points and the rooms, and is the only chooser of adapters. The engine is not opened here but in
the worker's child (`engines.open_engine`), so that the gateway, which also starts here, never reaches a model.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore, S3Access, open_object_store


def open_door(settings: Settings) -> RedisDoor:
    """The door to Redis; not yet connected."""
    options = QueueOptions(
        prefix=settings.redis_prefix,
        lease_seconds=settings.lease_seconds,
        max_attempts=settings.max_attempts,
        max_queued_jobs=settings.max_queued_jobs,
        retention_seconds=settings.retention_seconds,
    )
    return RedisDoor(settings.redis_url, options)


def open_store(settings: Settings) -> ObjectStore:
    """The object store that audio and stems rest in."""
    secret = settings.s3_secret_access_key
    return open_object_store(
        settings.store_url,
        S3Access(
            endpoint=settings.s3_endpoint,
            public_endpoint=settings.s3_public_endpoint,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=secret.get_secret_value() if secret else None,
        ),
    )


def open_bundles(settings: Settings) -> BundleStore:
    """The model bundles on disk."""
    return BundleStore(settings.model_store)


def end_process() -> NoReturn:
    """Ends a process that used the object store with exit code 0, at once, with everything written that was logged.

    Nothing registered with `atexit` runs. obstore returns a result to the event loop from a thread of its own, which
    drops what it held a moment later and takes the interpreter's lock for it. CPython before 3.14 ends a thread that
    asks for the lock while the interpreter is being taken apart, in the middle of code that cannot be unwound, and the
    whole process aborts (SIGABRT): an orderly stop that looks like a crash, in 6 of 100 processes that end right after
    such a call.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
