"""FLAC (RFC 9639): its first metadata block, files of several streams, and how many samples a stream holds.

libsndfile stops at the promised number of samples even when audio goes on, so the decoder is shown 0 ("unknown") and
decodes to the end. Writers into a pipe leave the number out, and libsndfile takes what stands behind the sound for
damage; but each frame says which samples it holds, so the last one says how many there are.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import takewhile

from divisi.audio.source import Seekable, bytes_at, find_all, undecodable

# Section 8.2: marker `fLaC`, block header, then STREAMINFO; its bytes 10 to 17 hold rate (20 bits), channels (3), word
# length (5), samples (36).
_FIELDS_AT = 4 + 4 + 10
# Marker, and a STREAMINFO of 34 bytes (which may be the last block in front of the sound).
_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_BEGINNING_BYTES = 8


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
    return [0, *(place for place, _ in find_all(file, _BEGINNING, _BEGINNING_BYTES, 1, file_bytes))]


# Section 9. Samples of a frame by their code, and bytes that say them, or the rate, where the codes cannot.
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

    Args:
        file: open at any place.
        start: byte of the stream's marker, `fLaC`.
        stop: byte at which the stream ends, or what stands behind it.
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
    ones = sum(1 for _ in takewhile(lambda bit: bit == "1", f"{head[4]:08b}"))
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
