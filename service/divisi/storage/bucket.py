"""Buckets that are not ours: recordings read from them, results written to them, where the operator allows it.

Keys are whatever their owner calls them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from divisi.contract.errors import NotFoundError, UnavailableError
from divisi.storage.object_store import PART_BYTES, PARTS_IN_FLIGHT, READ_BYTES
from divisi.timing import in_time

SCHEME = "s3://"


def read_address(address: str, allowed: Sequence[str]) -> tuple[str, str]:
    """Bucket and key of `s3://BUCKET/KEY`.

    Args:
        allowed: buckets, or prefixes in them, as settings name them.

    Raises:
        ValueError: why it is none that may be used.
    """
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError("it must be s3://BUCKET/KEY")
    if not any(address.startswith(f"{one.rstrip('/')}/") for one in allowed):
        raise ValueError("this service does not use that bucket")
    return bucket, key


def result_folder(target: str, job_id: str) -> str:
    """Where in a target a job's results go: below its own id, so that nothing of anybody's is replaced."""
    return f"{target.rstrip('/')}/{job_id}"


class Bucket:
    """Objects of one bucket.

    Errors: NotFoundError (`object-not-found`), UnavailableError (`store-unavailable`).
    """

    def __init__(self, backend: S3Store) -> None:
        self._backend = backend

    async def size_of(self, key: str) -> int:
        """Bytes of an object."""
        try:
            return (await in_time(obstore.head_async(self._backend, key)))["size"]
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no object {key!r}", code="object-not-found") from error
        except (BaseError, OSError) as error:
            raise _away() from error

    async def stream(self, key: str, size: int) -> AsyncIterator[bytes]:
        """The object's bytes, of which there are `size`, a few MiB at a time."""
        for start in range(0, size, READ_BYTES):
            try:
                end = min(start + READ_BYTES, size)
                piece = await obstore.get_range_async(self._backend, key, start=start, end=end)
            except (BaseError, OSError) as error:
                raise _away() from error
            yield bytes(piece)

    def upload(self, key: str, content: Path | bytes, media_type: str) -> None:
        """Writes an object whole or not at all, in parts when it is large. Blocks: for a worker's child."""
        try:
            obstore.put(
                self._backend,
                key,
                content,
                attributes={"Content-Type": media_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_IN_FLIGHT,
            )
        except (BaseError, OSError) as error:
            raise _away() from error


def _away() -> UnavailableError:
    return UnavailableError("the bucket cannot be used at the moment", code="store-unavailable")
