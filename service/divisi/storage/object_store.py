"""The object store: bytes by key in a local folder, in memory or in S3, through obstore.

Async methods serve the gateway and the worker's supervisor; `download`, `upload` and the other blocking twins serve
the worker's child, which has no event loop. Objects appear whole or not at all: obstore writes a local object beside
its final name and renames it, and completes multipart uploads in one step.

Errors: NotFoundError (`object-not-found`), UnavailableError (`store-unavailable`, with the cause), InputError
(`invalid-key`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, NotSupportedError
from obstore.store import LocalStore, MemoryStore, S3Store

from divisi.contract.errors import InputError, NotFoundError, UnavailableError
from divisi.storage.names import check_key
from divisi.storage.store_health import PING_KEY, WriteProbe
from divisi.timing import in_time

if TYPE_CHECKING:
    from obstore.store import S3Config

# One part in flight is one copy in memory; S3 allows 10 000 parts, so 8 MiB carries objects up to 78 GiB.
PART_BYTES = 8 * 1024 * 1024
PARTS_IN_FLIGHT = 2
# Reads go piece by piece: each piece has its own deadline and retries, however slowly the reader takes them.
READ_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class StoredObject:
    """What the store knows about one object without reading it."""

    key: str
    size: int  # bytes
    modified: datetime


class ObjectStore:
    """Bytes by key. Safe to share between tasks and threads; holds no open files."""

    def __init__(
        self,
        backend: LocalStore | MemoryStore | S3Store,
        *,
        folder: Path | None = None,
        signer: S3Store | None = None,
    ) -> None:
        """
        Args:
            backend: obstore's store.
            folder: root of a local store, None for the others.
            signer: S3 store that signs links, with the address that clients see.
        """
        self._backend = backend
        self._folder = folder
        self._signer = signer
        self._probe = WriteProbe(backend, folder)
        self.failures: Counter[str] = Counter()
        """How often the store was away, by what was asked of it (`store_health.OPERATIONS`)."""

    async def put_file(
        self, key: str, path: Path, *, media_type: str | None = None, disposition: str | None = None
    ) -> None:
        """Stores a file's bytes, in parts when it is large.

        Args:
            media_type: Content-Type that a signed link answers with (S3 only, as the next).
            disposition: Content-Disposition that it answers with.
        """
        options = self._file_options(media_type, disposition)
        with self._doing("put", key):
            await obstore.put_async(self._backend, check_key(key), path, **options)

    async def put_bytes(self, key: str, data: bytes) -> None:
        """Stores a small object."""
        with self._doing("put", key):
            await obstore.put_async(self._backend, check_key(key), data)

    async def keeps_first(self, key: str) -> bool:
        """Whether the store refuses, when asked to, to overwrite an object that is there; some do not know how."""
        with self._doing("put", key):
            try:
                await obstore.put_async(self._backend, check_key(key), b"second", mode="create")
            except (AlreadyExistsError, NotSupportedError, GenericError) as error:
                return isinstance(error, AlreadyExistsError)
        return False

    async def get_bytes(self, key: str) -> bytes:
        """A small object whole."""
        with self._doing("get", key):
            return await in_time(self._read(check_key(key)))

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """An object's bytes from `start` up to `end` (exclusive; None: to its end), a few MiB at a time."""
        stop = (await self.head(key)).size if end is None else end
        for piece_start in range(start, stop, READ_BYTES):
            with self._doing("get", key):
                piece = await obstore.get_range_async(
                    self._backend, check_key(key), start=piece_start, end=min(piece_start + READ_BYTES, stop)
                )
            yield bytes(piece)

    async def head(self, key: str) -> StoredObject:
        """Size and time of an object, or NotFoundError."""
        with self._doing("head", key):
            return _stored(await in_time(obstore.head_async(self._backend, check_key(key))))

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """Every object below a prefix, in order of keys. Prefixes end at a `/`: `a/b` holds `a/b/c`, not `a/bc`."""
        with self._doing("list", prefix):
            found = await in_time(obstore.list(self._backend, check_key(prefix)).collect_async())
        return sorted((_stored(meta) for meta in found), key=lambda stored: stored.key)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        """Names directly below a prefix that have objects below them, in order: `jobs` → every job id."""
        with self._doing("list", prefix):
            result = await obstore.list_with_delimiter_async(self._backend, check_key(prefix))
        return sorted(folder.rstrip("/").rsplit("/", 1)[-1] for folder in result["common_prefixes"])

    async def delete(self, key: str) -> None:
        """Erases one object; nothing happens when there is none."""
        with suppress(NotFoundError), self._doing("delete", key):
            await in_time(obstore.delete_async(self._backend, check_key(key)))

    async def delete_prefix(self, prefix: str) -> int:
        """Erases every object below a prefix. Returns how many there were."""
        keys = [stored.key for stored in await self.list(prefix)]
        if keys:
            try:
                with self._doing("delete", prefix):
                    await obstore.delete_async(self._backend, keys)
            except NotFoundError:
                # A local folder stops at the first key that is already gone (a concurrent deletion): take them singly.
                for key in keys:
                    await self.delete(key)
        if self._folder is not None:
            # What a writer that was killed left half-written is no object, but it is somebody's audio.
            await asyncio.to_thread(shutil.rmtree, self._folder / check_key(prefix), ignore_errors=True)
        return len(keys)

    async def ping(self) -> None:
        """Returns when the store answers, else raises UnavailableError."""
        if self._folder is not None and not self._folder.is_dir():
            raise _away("the object store's folder is gone")
        with suppress(NotFoundError):
            await self.head(PING_KEY)

    async def require_writes(self) -> None:
        """Returns when the store takes objects, else raises UnavailableError."""
        with self._doing("put", PING_KEY):
            await self._probe.require()

    async def signed_url(self, key: str, seconds: float) -> str | None:
        """A link that anybody can read the object by for some seconds; None where the store cannot give one."""
        if self._signer is None:
            return None
        with self._doing("sign", key):
            link = obstore.sign_async(self._signer, "GET", check_key(key), timedelta(seconds=seconds))
            return await in_time(link)

    # --- blocking: the worker's child ---

    def download(self, key: str, path: Path) -> int:
        """Writes an object to a file that does not exist yet. Returns its bytes; on failure no file is left."""
        with path.open("xb") as file:
            try:
                with self._doing("get", key):
                    size = obstore.head(self._backend, check_key(key))["size"]
                    for start in range(0, size, READ_BYTES):
                        end = min(start + READ_BYTES, size)
                        file.write(obstore.get_range(self._backend, key, start=start, end=end))
            except BaseException:
                path.unlink()
                raise
        return size

    def upload(self, key: str, path: Path, *, media_type: str | None = None, disposition: str | None = None) -> None:
        """The blocking twin of `put_file`."""
        options = self._file_options(media_type, disposition)
        with self._doing("put", key):
            obstore.put(self._backend, check_key(key), path, **options)

    @contextmanager
    def _doing(self, what: str, key: str) -> Iterator[None]:
        """Gives obstore's errors the names of our tree, and counts those that say that the store is away."""
        try:
            yield
        except FileNotFoundError as error:
            if what == "put":  # what is missing is the bucket
                self.failures[what] += 1
                raise _away("the object store's bucket is not there") from error
            raise NotFoundError(f"there is no object {key!r}", code="object-not-found", key=key) from error
        except (BaseError, OSError) as error:
            self.failures[what] += 1
            raise _away("the object store is away") from error

    def _file_options(self, media_type: str | None, disposition: str | None) -> dict[str, Any]:
        attributes = {}
        if self._signer is not None:  # only signed links answer with them, and a local folder cannot keep them
            named = {"Content-Type": media_type, "Content-Disposition": disposition}
            attributes = {name: value for name, value in named.items() if value}
        return {"attributes": attributes or None, "chunk_size": PART_BYTES, "max_concurrency": PARTS_IN_FLIGHT}

    async def _read(self, key: str) -> bytes:
        result = await obstore.get_async(self._backend, key)
        return bytes(await result.bytes_async())


@dataclass(frozen=True)
class S3Access:
    """How an S3 store is reached.

    Attributes:
        endpoint: address of an S3-speaking server other than AWS; plain `http://` only where written so.
        public_endpoint: its address as clients see it, for signed links; None: the same.
        access_key_id, secret_access_key: None: the usual AWS sources.
        patience_seconds: how long requests are retried before the store counts as away.
    """

    endpoint: str | None = None
    public_endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    patience_seconds: float = 2.0

    def open(self, bucket: str, prefix: str, endpoint: str | None) -> S3Store:
        """The bucket at one of the addresses; nothing is contacted yet."""
        config: S3Config = {"region": self.region}
        if endpoint is not None:
            config["endpoint"] = endpoint
        if self.access_key_id is not None and self.secret_access_key is not None:
            config |= {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}
        patience = timedelta(seconds=self.patience_seconds)
        return S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            config=config,
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "connect_timeout": patience,
            },
            retry_config={"retry_timeout": patience},
        )


def open_object_store(url: str, s3: S3Access = S3Access()) -> ObjectStore:
    """Opens the store that a URL names; nothing is contacted yet.

    Args:
        url: `file://PATH` (may be relative; the folder is created), `memory://`, or `s3://BUCKET/PREFIX`.
        s3: how the last one is reached.

    Raises:
        InputError: `invalid-store-url`.
        UnavailableError: the local folder cannot be created.
    """
    scheme, _, rest = url.partition("://")
    if url == "memory://":
        return ObjectStore(MemoryStore())
    if scheme == "file" and rest:
        folder = Path(rest).absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return ObjectStore(LocalStore(folder), folder=folder)
        except (BaseError, OSError) as error:
            raise _away(f"the store's folder {folder} cannot be opened") from error
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise InputError(f"{url!r} is not file://PATH, memory:// or s3://BUCKET/PREFIX", code="invalid-store-url")
    backend = s3.open(bucket, prefix, s3.endpoint)
    signer = s3.open(bucket, prefix, s3.public_endpoint) if s3.public_endpoint else backend
    return ObjectStore(backend, signer=signer)


def _away(message: str) -> UnavailableError:
    return UnavailableError(message, code="store-unavailable")


def _stored(meta: obstore.ObjectMeta) -> StoredObject:
    return StoredObject(key=meta["path"], size=meta["size"], modified=meta["last_modified"])
