"""How a process of a deployment begins and ends. Settings → its adapters, for Redis, object store and model store.

Stands between the entry points and the rooms, and is the only chooser of adapters. The engine is not opened here but in
the worker's child (`models.engine.open_engine`), so that the gateway, which also starts here, never reaches a model.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from divisi.contract.errors import InputError
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.settings import Settings
from divisi.storage.bucket import Bucket
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
    return open_object_store(settings.store_url, _s3_access(settings))


def open_bucket(settings: Settings, name: str) -> Bucket:
    """A bucket of somebody else's, reached as the store's own is."""
    access = _s3_access(settings)
    return Bucket(access.open(name, "", access.endpoint))


def _s3_access(settings: Settings) -> S3Access:
    secret = settings.s3_secret_access_key
    return S3Access(
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
    )


def open_bundles(settings: Settings) -> BundleStore:
    """The model bundles on disk."""
    return BundleStore(settings.model_store)


_LOCK = "lock"


class Scratch:
    """The folder for temporary files of one gateway or worker, as a context manager that removes it at the end.

    A killed process cannot tidy up, and what it leaves is somebody's recording: on entering, the folders of those of
    its kind that were killed are removed. Each holds a locked file; the kernel drops the lock of a dead process, so a
    folder whose lock is free belongs to nobody.

    Raises:
        InputError: on entering, where nothing can be written.
    """

    def __init__(self, parent: Path | None, kind: str) -> None:
        """
        Args:
            parent: where to make it; None: the system's folder for temporary files.
            kind: of process, such as `worker`.
        """
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self._prefix = f"divisi-{kind}-"

    def __enter__(self) -> Self:
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._remove_orphans()
            # Locked before it gets its name: another that starts at the same time must not take it for an orphan.
            unnamed = Path(tempfile.mkdtemp(prefix=f".{self._prefix}", dir=self._parent))
        except OSError as error:
            raise InputError(
                f"{self._parent} cannot be written to ({error.strerror}); DIVISI_WORK_DIR names the folder that "
                "recordings and stems are in while they are worked on",
                code="work-dir-unwritable",
            ) from error
        self._lock = (unnamed / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = unnamed.rename(self._parent / unnamed.name.removeprefix("."))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def fresh_folder(self, name: str) -> Path:
        """An empty folder of this name; whatever was there is removed."""
        folder = self.path / name
        self.remove(name)
        folder.mkdir()
        return folder

    def remove(self, name: str) -> None:
        """Removes the folder of this name, if there is one."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def _remove_orphans(self) -> None:
        for folder in self._parent.glob(f"{self._prefix}*"):
            lock_path = folder / _LOCK
            if not os.access(lock_path, os.W_OK):
                continue  # another user's
            # A living process's; or another that starts just now was quicker to remove it.
            with suppress(OSError), lock_path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


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
