"""Settings → the adapters of this deployment: Redis, object store, model store. The only chooser of adapters.

Stands between the entry points and the rooms. The engine is not opened here but in the worker's child
(`engines.open_engine`), so that the gateway, which also starts here, never reaches a model.
"""

from __future__ import annotations

from divisi.bundles.store import BundleStore
from divisi.door.redis_door import QueueOptions, RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore, open_object_store


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
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
    )


def open_bundles(settings: Settings) -> BundleStore:
    """The model bundles on disk."""
    return BundleStore(settings.model_store)
