"""Ogg pages (RFC 3533): is the file whole, which streams follow each other, or run side by side; what libsndfile must
be shown of a stream to decode all of it; and a fixed serial number for files we write.

libsndfile decodes the first stream as far as it goes and says nothing of what is missing, hence this look at the pages.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from divisi.audio.source import Seekable, bytes_at, find_all, undecodable

_CAPTURE = re.compile(rb"OggS")
_FIXED_HEADER_LENGTH = 27
_IS_FIRST_OF_STREAM = 0x02
_IS_LAST_OF_STREAM = 0x04
_CODEC_BYTES = 8
_OPUS_FIELDS_AT = 10
_OPUS_RATE = 48_000


@dataclass
class OggStream:
    """Attributes: `codec`, its first bytes; `pages` in the file; their `contents`; `is_ended` by its last page."""

    codec: bytes
    pages: list[range] = field(default_factory=list)
    contents: list[range] = field(default_factory=list)
    is_ended: bool = False


@dataclass(frozen=True)
class _Page:
    """`end` beyond the file: the page is torn."""

    start: int
    content: int
    end: int
    flags: int
    serial_number: int


def read_ogg_links(file: Seekable) -> list[list[OggStream]]:
    """Walks all pages and checks them (0.3 s for an hour of audio).

    Returns:
        For each link of a chain (most files are one) the streams that run beside each other.

    Raises:
        InputError: `undecodable`: the file ends within a page, has other bytes between pages, or a page is damaged.
    """
    links: list[dict[int, OggStream]] = []
    file_bytes = file.seek(0, io.SEEK_END)
    has_sound_begun = False
    for page in _pages_and_gaps(file, file_bytes):
        if page is None:
            if not all(stream.is_ended for stream in links[-1].values()):
                raise undecodable("the file is truncated or damaged: between Ogg pages it has other bytes")
            has_sound_begun = True  # only another link may follow
            continue
        content = _checked_content(file, page, file_bytes)
        # Streams that begin together are played together; one that begins later follows in a chain.
        if page.flags & _IS_FIRST_OF_STREAM and (has_sound_begun or not links):
            links.append({})
        has_sound_begun = not page.flags & _IS_FIRST_OF_STREAM
        streams = links[-1] if links else {}
        if page.flags & _IS_FIRST_OF_STREAM:
            streams[page.serial_number] = OggStream(content[:_CODEC_BYTES])
        stream = streams.get(page.serial_number)
        if stream is None:
            raise undecodable("the file is damaged: a page belongs to an Ogg stream without a beginning")
        stream.pages.append(range(page.start, page.end))
        stream.contents.append(range(page.content, page.end))
        stream.is_ended = bool(page.flags & _IS_LAST_OF_STREAM)
    return [list(streams.values()) for streams in links]


def as_last_page(page: bytes) -> bytes:
    """The page with the mark of the last one, which recorders of streams leave out and libsndfile misses."""
    content = bytearray(page)
    content[5] |= _IS_LAST_OF_STREAM
    return with_checksum(content)


@dataclass(frozen=True)
class OpusHead:
    """The first packet of Opus (RFC 7845, section 5.1), as libsndfile must see it to decode all that there is.

    Of a stream whose first page does not stand at 0 (a station's, or a part of a file) libsndfile keeps the samples
    that an encoder puts in front, and takes as many away at the end. And it decodes at the rate that the sound had
    before it was encoded, which is no more than a note: Opus always is at 48 kHz.

    Attributes: `skip`: samples at 48 kHz that an encoder put in front; `shown`: the packet that claims none.
    """

    skip: int
    shown: bytes


def read_opus_head(packet: bytes) -> OpusHead:
    """Reads the packet that begins a stream; a short one is left for the decoder to refuse."""
    behind = _OPUS_FIELDS_AT + 6
    if len(packet) < behind:
        return OpusHead(0, packet)
    (skip,) = struct.unpack_from("<H", packet, _OPUS_FIELDS_AT)
    return OpusHead(skip, packet[:_OPUS_FIELDS_AT] + struct.pack("<HI", 0, _OPUS_RATE) + packet[behind:])


def set_serial_number(path: Path, serial_number: int) -> None:
    """Writes this serial number into every page of a file of one stream, and the checksums that follow from it."""
    with path.open("r+b") as file:
        start = 0
        while (page := _read_page(file, start)) is not None:
            content = bytearray(bytes_at(file, start, page.end - start))
            content[14:18] = serial_number.to_bytes(4, "little")
            file.seek(start)
            file.write(with_checksum(content))
            start = page.end


def _checked_content(file: Seekable, page: _Page, file_bytes: int) -> bytes:
    if page.end > file_bytes:
        raise undecodable("the file is truncated: its last Ogg page is not whole")
    whole = bytes_at(file, page.start, page.end - page.start)
    if with_checksum(bytearray(whole)) != whole:
        raise undecodable(f"the file is damaged: the Ogg page at byte {page.start} has a wrong checksum")
    return whole[page.content - page.start :]


def _pages_and_gaps(file: Seekable, file_bytes: int) -> Iterator[_Page | None]:
    """All pages; None where other bytes lie in front of the next one or at the end."""
    start = 0
    while start < file_bytes:
        page = _read_page(file, start)
        yield page
        if page is not None:
            start = page.end
        else:
            start = next((place for place, _ in find_all(file, _CAPTURE, 4, start + 1, file_bytes)), file_bytes)


def _read_page(file: Seekable, start: int) -> _Page | None:
    """The page at a byte, as its header says it; None: there is none."""
    header = bytes_at(file, start, _FIXED_HEADER_LENGTH)
    if not _CAPTURE.match(header):
        return None
    if len(header) < _FIXED_HEADER_LENGTH:
        return _Page(start, start, start + _FIXED_HEADER_LENGTH, 0, 0)
    content = start + _FIXED_HEADER_LENGTH + header[26]
    end = content + sum(file.read(header[26]))
    return _Page(start, content, end, header[5], int.from_bytes(header[14:18], "little"))


# Ogg's CRC-32 has zlib's polynomial, but takes bits from the top, starts at 0 and does not invert at the end. Mirroring
# the bits of each byte and of the result turns one into the other, so zlib's fast loop does the work.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def with_checksum(page: bytearray) -> bytes:
    """The page with the checksum of what it holds now."""
    page[22:26] = bytes(4)
    mirrored_sum = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    page[22:26] = int(f"{mirrored_sum:032b}"[::-1], 2).to_bytes(4, "little")
    return bytes(page)
