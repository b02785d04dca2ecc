"""A file seen as pieces of it and bytes of ours: the decoder gets the header and the sound that it can work with, the
file stays as it is.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Protocol

Piece = bytes | range
"""Bytes to show, or the bytes of the file at these places (step 1)."""


class Seekable(Protocol):
    """What readers of headers need of a file."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class SplicedFile(io.RawIOBase):
    """Reads pieces one after the other, as one file.

    Args:
        path: the file that ranges are of.
        pieces: what is shown, in order.
    """

    def __init__(self, path: Path, pieces: Iterable[Piece]) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts = list(accumulate((len(piece) for piece in self._pieces), initial=0))
        self._length = self._starts.pop()
        self._position = 0

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view) and self._position < self._length:
            taken = self._read_from_piece(view[count:])
            if not taken:  # the file is shorter than it was
                break
            count += taken
            self._position += taken
        return count

    def read(self, size: int = -1, /) -> bytes:
        return super().read(size) or b""

    def _read_from_piece(self, view: memoryview) -> int:
        index = bisect_right(self._starts, self._position) - 1
        piece = self._pieces[index]
        offset = self._position - self._starts[index]
        length = min(len(view), len(piece) - offset)
        if isinstance(piece, bytes):
            view[:length] = piece[offset : offset + length]
            return length
        self._file.seek(piece.start + offset)
        return self._file.readinto(view[:length])

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        # The sizes in a damaged file lead anywhere; decoders do not expect an error of a seek.
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def joined(pieces: Iterable[range]) -> list[range]:
    """The same places with neighbours made one."""
    result: list[range] = []
    for piece in pieces:
        if result and result[-1].stop == piece.start:
            result[-1] = range(result[-1].start, piece.stop)
        else:
            result.append(piece)
    return result


def part_of(pieces: Iterable[Piece], start: int, stop: int) -> tuple[Piece, ...]:
    """The pieces of bytes `start … stop` of the file that these pieces are."""
    result: list[Piece] = []
    position = 0
    for piece in pieces:
        part = piece[max(0, start - position) : max(0, stop - position)]
        if len(part):
            result.append(part)
        position += len(piece)
    return tuple(result)
