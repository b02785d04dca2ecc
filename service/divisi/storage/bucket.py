"""Objects of a bucket that is not ours, for reading: keys are whatever their owner calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from divisi.contract.errors import NotFoundError, UnavailableError
from divisi.storage.object_store import READ_BYTES
from divisi.timing import in_time


class Bucket:
    """Reads objects of one bucket.

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


def _away() -> UnavailableError:
    return UnavailableError("the bucket cannot be read at the moment", code="store-unavailable")
