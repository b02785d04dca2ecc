"""Ogg pages (RFC 3533): is the file whole, how many streams follow each other in it; and a fixed serial number for
files we write.

libsndfile decodes the first stream as far as it goes and says nothing of what is missing, hence this look at the pages.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CAPTURE = b"OggS"
_FIXED_HEADER_LENGTH = 27
_IS_FIRST_OF_STREAM = 0x02
_IS_LAST_OF_STREAM = 0x04


@dataclass(frozen=True)
class OggPage:
    """Where a page lies (bytes) and its flags; `end` beyond the file: the page is torn."""

    start: int
    end: int
    flags: int


@dataclass(frozen=True)
class OggStructure:
    """Attributes:
    first_packet: the first bytes of the first stream, which name its codec.
    num_links: streams following each other.
    is_torn: the file ends within a page, or has other bytes between pages.
    """

    first_packet: bytes
    num_links: int
    is_torn: bool


def read_ogg_structure(path: Path) -> OggStructure:
    """Walks all pages by their lengths (0.1 s for an hour of audio)."""
    first_packet = b""
    num_links = 0
    position = 0
    is_last = False
    follows_first_page = False
    with path.open("rb") as file:
        file_bytes = os.fstat(file.fileno()).st_size
        for page in _pages(file):
            if page.end > file_bytes:
                return OggStructure(first_packet, num_links, is_torn=True)
            if not first_packet:
                first_packet = file.read(8)
            is_first = bool(page.flags & _IS_FIRST_OF_STREAM)
            # Streams that begin together are played together; one that begins later follows in a chain.
            if is_first and not follows_first_page:
                num_links += 1
            follows_first_page = is_first
            is_last = bool(page.flags & _IS_LAST_OF_STREAM)
            position = page.end
        # After the last page of a stream, anything may follow (tags, padding); in the middle of one, nothing.
        return OggStructure(first_packet, num_links, is_torn=position < file_bytes and not is_last)


def set_serial_number(path: Path, serial_number: int) -> None:
    """Writes this serial number into every page of a file of one stream, and the checksums that follow from it."""
    with path.open("r+b") as file:
        for page in _pages(file):
            file.seek(page.start)
            content = bytearray(file.read(page.end - page.start))
            content[14:18] = serial_number.to_bytes(4, "little")
            content[22:26] = bytes(4)
            content[22:26] = _checksum(content).to_bytes(4, "little")
            file.seek(page.start)
            file.write(content)


def _pages(file: BinaryIO) -> Iterator[OggPage]:
    """All pages; the file stands at a page's content when it is given."""
    start = 0
    while True:
        file.seek(start)
        header = file.read(_FIXED_HEADER_LENGTH)
        if header[:4] != _CAPTURE:
            return
        if len(header) < _FIXED_HEADER_LENGTH:
            yield OggPage(start, start + _FIXED_HEADER_LENGTH, 0)
            return
        num_segments = header[26]
        end = start + _FIXED_HEADER_LENGTH + num_segments + sum(file.read(num_segments))
        yield OggPage(start, end, header[5])
        start = end


# Ogg's CRC-32 has zlib's polynomial, but takes bits from the top, starts at 0 and does not invert at the end. Mirroring
# the bits of each byte and of the result turns one into the other, so zlib's fast loop does the work.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _checksum(page: bytearray) -> int:
    mirrored_sum = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored_sum:032b}"[::-1], 2)
