"""FLAC (RFC 9639) and Ogg (RFC 3533), as libsndfile must be shown them to decode all that is there.

Of FLAC it stops at the promised number of samples even when audio goes on, so it is shown 0 ("unknown"). Writers into a
pipe leave the number out, and it takes what stands behind the sound for damage; but each frame says which samples it
holds, so the last one says how many there are.

Of Ogg it decodes the first stream as far as it goes and says nothing of what is missing. Hence a look at the pages: is
the file whole, and which streams follow each other, or run side by side.
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

# RFC 9639, section 8.2: marker `fLaC`, block header, then STREAMINFO; its bytes 10 to 17 hold rate (20 bits),
# channels (3), word length (5), samples (36).
_FIELDS_AT = 4 + 4 + 10
# Marker, and a STREAMINFO of 34 bytes (which may be the last block in front of the sound).
_FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")


@dataclass(frozen=True)
class FlacHeader:
    """Attributes:
    sample_rate: Hz.
    bits: per sample.
    num_samples: as promised; None: not said.
    fields: eight bytes to show in place of those at `fields_at`.
    """

    sample_rate: int
    bits: int
    num_samples: int | None
    fields: bytes
    fields_at: int


def read_flac_header(file: Seekable, start: int) -> FlacHeader:
    """Reads the header at byte `start`. Raises InputError `undecodable` where the file ends before it does."""
    packed = bytes_at(file, start + _FIELDS_AT, 8)
    if len(packed) < 8:
        raise undecodable("the file is truncated: it ends within the FLAC header")
    word = int.from_bytes(packed, "big")
    num_samples = word & 0xF_FFFF_FFFF
    return FlacHeader(
        sample_rate=word >> 44,
        bits=(word >> 36 & 0x1F) + 1,
        num_samples=num_samples or None,
        fields=(word - num_samples).to_bytes(8, "big"),
        fields_at=start + _FIELDS_AT,
    )


def find_flac_streams(file: Seekable) -> list[int]:
    """Where the streams of a file begin; there are several where files were put one after the other."""
    file_bytes = file.seek(0, io.SEEK_END)
    return [0, *(place for place, _ in find_all(file, _FLAC_BEGINNING, 8, 1, file_bytes))]


# Section 9: samples of a frame by their code, and bytes that say them, or the rate, where the codes cannot.
_BLOCK_LENGTHS = {1: 192, 2: 576, 3: 1_152, 4: 2_304, 5: 4_608} | {code: 1 << code for code in range(8, 16)}
_BLOCK_LENGTH_BYTES = {6: 1, 7: 2}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}
_NO_RATE = 15
_LAST_CHANNEL_CODE = 10
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_FRAME_HEADER = 16


@dataclass(frozen=True)
class _Frame:
    """Attributes: `stream`: what all frames have in common; `number` of the frame, or of its first sample where lengths
    vary; `length` in samples.
    """

    stream: tuple[int, int, int, int]
    number: int
    length: int


def count_samples(file: Seekable, start: int, stop: int) -> int | None:
    """Samples per channel from the first frame to the last; None: there is no frame.

    The stream's marker, `fLaC`, is at byte `start`; at `stop` it ends, or what stands behind it.
    """
    first: _Frame | None = None
    begin = end = 0
    for _, head in find_all(file, _SYNC, _LONGEST_FRAME_HEADER, _end_of_metadata(file, start), stop):
        frame = _read_frame_header(head)
        if frame is None:
            continue
        if first is None:
            first = frame
        number = frame.number * (1 if frame.stream[0] & 1 else first.length)
        if frame is first:
            begin = end = number
        # Noise that looks like a header hardly ever agrees with both.
        if frame.stream == first.stream and number >= end:
            end = number + frame.length
    return None if first is None else end - begin


def _end_of_metadata(file: Seekable, start: int) -> int:
    """Where frames begin: pictures in front of them may hold anything."""
    position = start + 4
    while len(head := bytes_at(file, position, 4)) == 4:
        position += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return position


def _read_frame_header(head: bytes) -> _Frame | None:
    """None: it is none."""
    if len(head) < 6:
        return None
    block_code, rate_code, channel_code, bits = head[2] >> 4, head[2] & 15, head[3] >> 4, head[3] & 15
    if block_code == 0 or rate_code == _NO_RATE or channel_code > _LAST_CHANNEL_CODE or bits & 1:
        return None
    # The number is coded as UTF-8 codes characters, in up to seven bytes.
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    length_at = 4 + max(1, ones)
    rate_at = length_at + _BLOCK_LENGTH_BYTES.get(block_code, 0)
    checksum_at = rate_at + _RATE_BYTES.get(rate_code, 0)
    if ones in (1, 8) or len(head) <= checksum_at or _checksum(head[:checksum_at]) != head[checksum_at]:
        return None
    number = head[4] & 0x7F >> ones
    for byte in head[5:length_at]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    length = _BLOCK_LENGTHS.get(block_code) or int.from_bytes(head[length_at:rate_at], "big") + 1
    num_channels = 2 if channel_code >= 8 else channel_code + 1
    return _Frame((head[1], rate_code, num_channels, bits), number, length)


def _checksum(content: bytes) -> int:
    """CRC-8 of polynomial 0x07."""
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value


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


def read_opus_head(packet: bytes) -> tuple[int, bytes]:
    """The first packet of Opus (RFC 7845, section 5.1): samples at 48 kHz that an encoder put in front, and the packet
    that claims none. A short one is left for the decoder to refuse.

    Of a stream whose first page does not stand at 0 (a station's, or a part of a file) libsndfile keeps the samples in
    front, and takes as many away at the end. And it decodes at the rate that the sound had before it was encoded, which
    is no more than a note: Opus always is at 48 kHz.
    """
    behind = _OPUS_FIELDS_AT + 6
    if len(packet) < behind:
        return 0, packet
    (skip,) = struct.unpack_from("<H", packet, _OPUS_FIELDS_AT)
    return skip, packet[:_OPUS_FIELDS_AT] + struct.pack("<HI", 0, _OPUS_RATE) + packet[behind:]


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
