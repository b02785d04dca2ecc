"""Small changes to the bytes of a recording, as programs, disks and networks make them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

Edit = Callable[[bytes], bytes]

ID3V2 = b"ID3\x04\0\0\0\0\x01\x05" + bytes(133)
ID3V2_WITH_FOOTER = b"ID3\x04\0\x10\0\0\0\x20" + bytes(32) + b"3DI\x04\0\x10\0\0\0\x20"
ID3V2_UNSYNCHRONISED = b"ID3\x03\0\x80\0\0\0\x30" + b"\xff\0\xfb\x90" * 12
ID3V1 = b"TAG" + b"Ave verum".ljust(125, b"\0")
ID3V1_ENHANCED = b"TAG+" + bytes(223) + ID3V1
APE_ITEMS = struct.pack("<II", 3, 0) + b"Title\0Ave"
APE_SIZE = len(APE_ITEMS) + 32
APE_FOOTER = b"APETAGEX" + struct.pack("<IIII8x", 2000, APE_SIZE, 1, 1 << 31)
APE_HEADER = b"APETAGEX" + struct.pack("<IIII8x", 2000, APE_SIZE, 1, 1 << 31 | 1 << 29)
APEV2 = APE_HEADER + APE_ITEMS + APE_FOOTER
_LYRICS = b"LYRICSBEGIN" + b"IND00003110" + b"LYR00009Ave verum"
LYRICS3 = _LYRICS + b"%06d" % len(_LYRICS) + b"LYRICS200"
LYRICS3_V1 = b"LYRICSBEGIN" + b"Ave verum corpus" + b"LYRICSEND"


def same(content: bytes) -> bytes:
    return content


def front(more: bytes) -> Edit:
    return lambda content: more + content


def behind(more: bytes) -> Edit:
    return lambda content: content + more


def both(first: Edit, second: Edit) -> Edit:
    return lambda content: second(first(content))


def without_last(count: int) -> Edit:
    return lambda content: content[:-count]


def without_first(count: int) -> Edit:
    return lambda content: content[count:]


def first_part(part: float) -> Edit:
    return lambda content: content[: int(part * len(content))]


def put(place: int, more: bytes) -> Edit:
    """Writes over the bytes at a place."""
    return lambda content: content[:place] + more + content[place + len(more) :]


def insert(part: float, more: bytes) -> Edit:
    def edit(content: bytes) -> bytes:
        place = int(part * len(content))
        return content[:place] + more + content[place:]

    return edit


def flip(part: float) -> Edit:
    def edit(content: bytes) -> bytes:
        place = int(part * len(content))
        return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]

    return edit


def repeated(times: int) -> Edit:
    return lambda content: content * times


# RIFF, FORM, CAF ----------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes, order: str = "<", padded: bool = True) -> bytes:
    return name + struct.pack(order + "I", len(body)) + body + bytes(len(body) % 2 if padded else 0)


def chunk_in_front(name: bytes, body: bytes, order: str = "<", padded: bool = True) -> Edit:
    """Behind the outer head of 12 bytes, in front of all other chunks."""
    return lambda content: content[:12] + chunk(name, body, order, padded) + content[12:]


def size_at(name: bytes, size: int, form: str = "<I") -> Edit:
    """Another size of the chunk of this name."""

    def edit(content: bytes) -> bytes:
        return put(content.index(name) + 4, struct.pack(form, size))(content)

    return edit


def size_changed(name: bytes, change: int, form: str = "<I") -> Edit:
    def edit(content: bytes) -> bytes:
        place = content.index(name) + 4
        (size,) = struct.unpack_from(form, content, place)
        return put(place, struct.pack(form, size + change))(content)

    return edit


def streamed(data: int, outer: int) -> Edit:
    """A WAV whose sizes were left as a writer that cannot seek leaves them."""
    return both(size_at(b"data", data), put(4, struct.pack("<I", outer)))


def taken_apart(content: bytes, order: str) -> list[tuple[bytes, bytes]]:
    """Name and body of all chunks behind the outer head."""
    chunks, place = [], 12
    while place + 8 <= len(content):
        (length,) = struct.unpack_from(order + "I", content, place + 4)
        chunks.append((content[place : place + 4], content[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    return chunks


def rebuilt(content: bytes, chunks: list[tuple[bytes, bytes]], order: str) -> bytes:
    body = content[8:12] + b"".join(chunk(name, part, order) for name, part in chunks)
    return content[:4] + struct.pack(order + "I", len(body)) + body


def chunks_reversed(order: str) -> Edit:
    return lambda content: rebuilt(content, taken_apart(content, order)[::-1], order)


def format_changed(change: Edit) -> Edit:
    """Another body of a WAV's `fmt ` chunk."""

    def edit(content: bytes) -> bytes:
        chunks = [(name, change(part) if name == b"fmt " else part) for name, part in taken_apart(content, "<")]
        return rebuilt(content, chunks, "<")

    return edit


def data_in_two(content: bytes) -> bytes:
    chunks = []
    for name, part in taken_apart(content, "<"):
        chunks += (
            [(name, part[:4_000]), (b"LIST", b"INFO"), (name, part[4_000:])] if name == b"data" else [(name, part)]
        )
    return rebuilt(content, chunks, "<")


# Ogg ----------------------------------------------------------------------------------------------------------------


def ogg_pages(content: bytes) -> list[bytes]:
    places = [place for place in range(len(content) - 27) if content[place : place + 4] == b"OggS"]
    return [content[start:stop] for start, stop in zip(places, [*places[1:], len(content)], strict=True)]


def with_checksum(page: bytes) -> bytes:
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    content = page[:22] + bytes(4) + page[26:]
    total = zlib.crc32(content.translate(mirrored), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return content[:22] + int(f"{total:032b}"[::-1], 2).to_bytes(4, "little") + content[26:]


def without_end_flag(content: bytes) -> bytes:
    pages = ogg_pages(content)
    last = pages[-1]
    return b"".join(pages[:-1]) + with_checksum(last[:5] + bytes([last[5] & ~4]) + last[6:])


def without_page(number: int) -> Edit:
    def edit(content: bytes) -> bytes:
        pages = ogg_pages(content)
        del pages[number]
        return b"".join(pages)

    return edit


def granules_later(samples: int) -> Edit:
    """As recorded from a station that has been playing for a while."""

    def edit(content: bytes) -> bytes:
        pages = []
        for page in ogg_pages(content):
            (granule,) = struct.unpack_from("<q", page, 6)
            later = granule + samples if granule > 0 else granule
            pages.append(with_checksum(page[:6] + struct.pack("<q", later) + page[14:]))
        return b"".join(pages)

    return edit


def opus_head(place: int, field: bytes) -> Edit:
    """Another field of the packet that begins Opus; `place` counts from the packet's first byte."""

    def edit(content: bytes) -> bytes:
        first, *others = ogg_pages(content)
        return with_checksum(put(first.index(b"OpusHead") + place, field)(first)) + b"".join(others)

    return edit


# MPEG ---------------------------------------------------------------------------------------------------------------


def in_free_format(content: bytes) -> bytes:
    """MP3 of one bit rate, without a tag: the rate's index is taken out of every header."""
    sync = content[:2]
    result = bytearray(content)
    place = 0
    while content[place : place + 2] == sync:
        length = 144 * 128_000 // 48_000 + (content[place + 2] >> 1 & 1)
        result[place + 2] &= 0x0F
        place += length
    return bytes(result)


# MP4, QuickTime -----------------------------------------------------------------------------------------------------


def boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    result, place = [], 0
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        result.append((content[place + 4 : place + 8], content[place : place + length]))
        place += length
    return result


def without_box(name: bytes, but_keep_places: bool = False) -> Edit:
    """Takes an outermost box away; its room may be left as `free`, so that what the index points at stays."""

    def edit(content: bytes) -> bytes:
        kept = b""
        for found, box in boxes(content):
            kept += box if found != name else (box[:4] + b"free" + box[8:]) if but_keep_places else b""
        return kept

    return edit


def box_behind(name: bytes, body: bytes = bytes(40)) -> Edit:
    return behind((8 + len(body)).to_bytes(4, "big") + name + body)


def box_of_open_size(name: bytes) -> Edit:
    """Size 0 of the last box: up to the end."""

    def edit(content: bytes) -> bytes:
        assert boxes(content)[-1][0] == name
        return put(content.index(name) - 4, bytes(4))(content)

    return edit
