"""Where a recording's bytes go while they arrive: counted, hashed, and written off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
from typing import IO

from divisi.errors import InputError, UnavailableError

WRITE_BYTES = 1024 * 1024


class UploadSink:
    """Takes the recording and writes it in larger pieces than the network's.

    Raises:
        InputError: `upload-too-large`.
        UnavailableError: `disk-full`.
    """

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def add(self, data: bytes) -> None:
        """Takes bytes over; `settle` writes them."""
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._waiting += data

    async def settle(self) -> None:
        """Writes what waits once it is worth a write."""
        if len(self._waiting) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes all that waits."""
        data, self._waiting = self._waiting, bytearray()
        try:
            await asyncio.to_thread(self._write, data)
        except OSError as error:
            raise UnavailableError("there is no room for the recording at the moment", code="disk-full") from error

    def _write(self, data: bytearray) -> None:
        self.sha256.update(data)
        self._file.write(data)
        self._file.flush()


def too_large(max_bytes: int) -> InputError:
    """The error `upload-too-large`."""
    return InputError(
        f"the recording is larger than {max_bytes} bytes, the most this service accepts",
        code="upload-too-large",
        limit_bytes=max_bytes,
    )
