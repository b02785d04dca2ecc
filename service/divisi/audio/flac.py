"""FLAC: the first metadata block, STREAMINFO (RFC 9639, section 8.2), and files of several streams.

libsndfile stops at the promised number of samples even when audio goes on, so the decoder is shown 0 ("unknown") and
decodes to the end.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from divisi.audio.source import Seekable
from divisi.contract.errors import InputError

# Marker `fLaC`, block header, then STREAMINFO; its bytes 10 to 17 hold rate (20 bits), channels (3), word length (5),
# samples (36).
_FIELDS_AT = 4 + 4 + 10
_UNKNOWN_NUMBER = 0
# Marker, and a STREAMINFO of 34 bytes (which may be the last block in front of the sound).
_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_BEGINNING_BYTES = 8
_SEARCHED_BYTES = 1 << 20


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
    file.seek(start + _FIELDS_AT)
    packed = file.read(8)
    if len(packed) < 8:
        raise InputError("the file is truncated: it ends within the FLAC header", code="undecodable")
    word = int.from_bytes(packed, "big")
    num_samples = word & 0xF_FFFF_FFFF
    return FlacHeader(
        sample_rate=word >> 44,
        bits=(word >> 36 & 0x1F) + 1,
        num_samples=num_samples or None,
        fields=(word - num_samples + _UNKNOWN_NUMBER).to_bytes(8, "big"),
        fields_at=start + _FIELDS_AT,
    )


def find_flac_streams(file: Seekable) -> list[int]:
    """Where the streams of a file begin; there are several where files were put one after the other."""
    file_bytes = file.seek(0, io.SEEK_END)
    places = [0]
    position = 1
    while position < file_bytes:
        file.seek(position)
        stretch = file.read(_SEARCHED_BYTES)
        places += [position + match.start() for match in _BEGINNING.finditer(stretch)]
        position += max(len(stretch) - _BEGINNING_BYTES + 1, 1)
    return places


_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER = 16
_STRETCH = 1 << 20
# Samples of a frame, and bytes that say them or the rate where these codes cannot.
_FRAME_LENGTHS = {1: 192, 2: 576, 3: 1_152, 4: 2_304, 5: 4_608} | {code: 1 << code for code in range(8, 16)}
_FRAME_LENGTH_BYTES = {6: 1, 7: 2}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}
_NO_RATE = 15
_LAST_CHANNEL_CODE = 10
_CHECKSUM_POLYNOMIAL = 0x07


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
    for frame in _frames(file, _end_of_metadata(file, start), stop):
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
    position, is_last = start + 4, False
    while not is_last:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4:
            break
        is_last = bool(head[0] & 0x80)
        position += 4 + int.from_bytes(head[1:], "big")
    return position


def _frames(file: Seekable, start: int, stop: int) -> Iterator[_Frame]:
    position = start
    while position < stop:
        file.seek(position)
        stretch = file.read(min(_STRETCH, stop - position) + _LONGEST_HEADER)
        for match in _SYNC.finditer(stretch, 0, min(_STRETCH, stop - position) + 1):
            frame = _read_header(stretch[match.start() : match.start() + _LONGEST_HEADER])
            if frame is not None:
                yield frame
        position += _STRETCH


def _read_header(head: bytes) -> _Frame | None:
    """None: it is none."""
    if len(head) < 6:
        return None
    block_code, rate_code, channel_code, bits = head[2] >> 4, head[2] & 15, head[3] >> 4, head[3] & 15
    if block_code == 0 or rate_code == _NO_RATE or channel_code > _LAST_CHANNEL_CODE or bits & 1:
        return None
    # The number is coded as UTF-8 codes characters, in up to seven bytes.
    ones = sum(1 for _ in takewhile(lambda bit: bit == "1", f"{head[4]:08b}"))
    number_bytes = max(1, ones)
    length_at = 4 + number_bytes
    checksum_at = length_at + _FRAME_LENGTH_BYTES.get(block_code, 0) + _RATE_BYTES.get(rate_code, 0)
    if ones in (1, 8) or len(head) <= checksum_at or _checksum(head[:checksum_at]) != head[checksum_at]:
        return None
    number = head[4] & 0x7F >> ones
    for byte in head[5:length_at]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    length_bytes = head[length_at : length_at + _FRAME_LENGTH_BYTES.get(block_code, 0)]
    length = _FRAME_LENGTHS.get(block_code) or int.from_bytes(length_bytes, "big") + 1
    num_channels = 2 if channel_code >= 8 else channel_code + 1
    return _Frame((head[1], rate_code, num_channels, bits), number, length)


def _checksum(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (_CHECKSUM_POLYNOMIAL if value & 0x80 else 0)) & 0xFF
    return value
