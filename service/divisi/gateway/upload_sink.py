"""Where a recording's bytes go while they arrive: counted, hashed, and written off the event loop.

A recording may come in several files; each gets a file of its own on disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO

from divisi.contract.errors import InputError, UnavailableError
from divisi.whole_files import Digests

WRITE_BYTES = 1024 * 1024


class UploadSink:
    """Takes the recording and writes it in larger pieces than the network's.

    Args:
        file: where to.
        max_bytes: of all files together.
        open_next: opens the next file on disk, once a next one begins.

    Raises:
        InputError: `upload-too-large`.
        UnavailableError: `disk-full`.
    """

    def __init__(self, file: IO[bytes], max_bytes: int, open_next: Callable[[], IO[bytes]] | None = None) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._open_next = open_next
        self._waiting = bytearray()
        self._next_starts: list[int] = []
        self.digests = Digests()
        self.num_bytes = 0

    def add(self, data: bytes) -> None:
        """Takes bytes over; `settle` writes them."""
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._waiting += data

    def begin_next_file(self) -> None:
        """What is added from now on belongs to the next file."""
        self._next_starts.append(len(self._waiting))

    async def settle(self) -> None:
        """Writes what waits once it is worth a write."""
        if len(self._waiting) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes all that waits."""
        data, self._waiting = self._waiting, bytearray()
        starts, self._next_starts = self._next_starts, []
        with needing_room():
            await asyncio.to_thread(self._write, data, starts)

    def _write(self, data: bytearray, starts: list[int]) -> None:
        self._write_part(data[: starts[0]] if starts else data)
        for start, end in pairwise([*starts, len(data)]):
            assert self._open_next is not None
            self._file = self._open_next()
            # Where one file ends tells recordings apart whose bytes are the same.
            self.digests.add(b"next file")
            self._write_part(data[start:end])

    def _write_part(self, data: bytearray) -> None:
        self.digests.add(data)
        self._file.write(data)
        self._file.flush()


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder, gone at the end; UnavailableError (`disk-full`) where none can be made."""
    with needing_room():
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=prefix)
    with folder as path:
        yield Path(path)


@contextmanager
def needing_room() -> Iterator[None]:
    """Tells a write that fails as an outage: UnavailableError (`disk-full`)."""
    try:
        yield
    except OSError as error:
        raise UnavailableError("there is no room for the recording at the moment", code="disk-full") from error


def too_large(max_bytes: int) -> InputError:
    """The error `upload-too-large`."""
    return InputError(
        f"the recording is larger than {max_bytes} bytes, the most this service accepts",
        code="upload-too-large",
        limit_bytes=max_bytes,
    )
