"""Chunked containers (WAV, RF64, AIFF, CAF): where the samples lie, whether all promised bytes are there, and the plain
file of the same samples that a decoder is shown.

libsndfile shortens a recording silently to the bytes there are, stops at sizes that pipes left open, and stumbles over
what programs put around the samples. So the chunks are found here, and it sees nothing but format and samples. A data
chunk that reaches beyond the file is an error, unless its size is the mark of a writer that could not seek.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from divisi.audio.spliced_file import Piece, Seekable
from divisi.contract.errors import InputError

# Writers that cannot seek put 0, all ones, or a little less than 2 or 4 GiB: sox 0x7f000000 and 0x7ffff000, others
# 0x7fffffff, 0x80000000, or all ones less the header. No file that ends long before means these.
_MARKS_32 = (range(0x7F00_0000, 0x8001_0000), range(0xFF00_0000, 0x1_0000_0000))
_LARGEST_64 = 1 << 62
# 8 TiB; file systems refuse to go to places beyond the largest file that they can hold.
_LARGEST_FILE = 1 << 43


@dataclass(frozen=True)
class ChunkedSound:
    """Attributes:
    sample_rate: Hz as written.
    data: where the samples lie, in order.
    pieces: a plain file of them.
    is_mpeg: they are a stream of MPEG audio, whatever the format says of samples.
    """

    sample_rate: float
    data: tuple[range, ...]
    pieces: tuple[Piece, ...]
    is_mpeg: bool = False


@dataclass(frozen=True)
class Chunk:
    """Attributes: `name`; `body`: byte at which its content begins; `length` of the content as written."""

    name: bytes
    body: int
    length: int


def read_chunks(file: Seekable, start: int, size_format: str, wanted: frozenset[bytes]) -> Iterator[Chunk]:
    """The chunks from byte `start` on.

    Args:
        file: open at any place.
        start: of the first chunk.
        size_format: of `struct`, of a chunk's length. Chunks of 32 bits begin at even bytes, others at any.
        wanted: names that the caller looks for. Where a writer left out the byte that makes a length even, the next
            chunk is found by its name.
    """
    size_length = struct.calcsize(size_format)
    is_padded = size_length == 4
    position = start
    while len(head := bytes_at(file, position, 4 + size_length)) == 4 + size_length:
        (length,) = struct.unpack(size_format, head[4:])
        body = position + 4 + size_length
        yield Chunk(head[:4], body, length)
        position = body + length
        if is_padded and length % 2 and not _is_padding_missing(file, position, wanted):
            position += 1


def _is_padding_missing(file: Seekable, position: int, wanted: frozenset[bytes]) -> bool:
    """True where a name stands at an odd place already: padding is 0 by rule, but other bytes are seen."""
    place = bytes_at(file, position, 5)
    return place[1:] not in wanted and re.match(rb"[A-Za-z][ -~]{3}", place) is not None


def data_range(body: int, promised: int, end: int, frame_bytes: int) -> range:
    """Where the samples of a data chunk lie.

    Args:
        body: where they begin.
        promised: their bytes as the chunk says.
        end: of the file.
        frame_bytes: a sample of each channel (or a block of them) takes so many; less than that missing is no loss.

    Raises:
        InputError: `undecodable` when the file is shorter.
    """
    there = max(0, end - body)
    if promised // frame_bytes > there // frame_bytes:
        raise InputError(
            f"the file is truncated: its header promises {promised} bytes of audio, {there} are there",
            code="undecodable",
        )
    length = min(promised, there)
    # Some writers count the byte that makes a chunk's length even; decoders of blocks would take it for one.
    return range(body, body + length - (length % frame_bytes == 1))


def is_mark(size: int, body: int, end: int) -> bool:
    """True for a size that stands for "unknown" where the data begin at `body` and the file ends at `end`."""
    if body + size <= end:
        return False
    return size >= _LARGEST_64 or any(size in marks for marks in _MARKS_32)


def refuse_without(what: str, last: Chunk | None, end: int) -> NoReturn:
    """Raises InputError `undecodable` for a file in whose chunks something was not found; `last` is where they end."""
    if last is None or last.body + last.length > end:
        raise InputError(f"the file is truncated: it ends before its {what}", code="undecodable")
    raise InputError(f"the file is damaged: it has no {what}", code="undecodable")


def bytes_at(file: Seekable, position: int, length: int) -> bytes:
    """Bytes from a place on; fewer at the end, none where sizes in a damaged file lead."""
    if position >= _LARGEST_FILE:
        return b""
    file.seek(position)
    return file.read(length)
