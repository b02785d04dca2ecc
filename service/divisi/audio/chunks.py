"""Chunked containers (WAV, RF64, AIFF, CAF): where the samples lie, whether all promised bytes are there, and at which
rate.

libsndfile shortens a recording silently to the bytes there are. Here a data chunk that reaches beyond the file is an
error, and a size that was never filled in (0 or all ones: the mark of a writer that could not seek) is filled in from
the bytes there are.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from divisi.errors import InputError

_UNKNOWN_32 = 0xFFFF_FFFF
_UNKNOWN_64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass
class ChunkedHeader:
    """Attributes:
    sample_rate: Hz as written; None: no such chunk before the samples.
    data_start, data_bytes: where the samples lie; None: no data chunk found (the decoder will say what is wrong).
    patches: bytes to show the decoder instead of those in the file.
    """

    sample_rate: float | None = None
    data_start: int | None = None
    data_bytes: int | None = None
    patches: dict[int, bytes] = field(default_factory=dict)


def read_chunked_header(path: Path, container: str) -> ChunkedHeader:
    """Reads the header of a `wav`, `rf64`, `aiff` or `caf` file.

    Raises:
        InputError: `undecodable` when the file is shorter than its data chunk.
    """
    file_bytes = os.path.getsize(path)
    with path.open("rb") as file:
        if container == "aiff":
            header = _read_aiff(file)
        elif container == "caf":
            header = _read_caf(file, file_bytes)
        else:
            header = _read_riff(file, file_bytes)
    if header.data_start is not None and header.data_bytes is not None:
        there = max(0, file_bytes - header.data_start)
        if there < header.data_bytes:
            raise InputError(
                f"the file is truncated: its header promises {header.data_bytes} bytes of audio, {there} are there",
                code="undecodable",
            )
    return header


def _read_riff(file: BinaryIO, file_bytes: int) -> ChunkedHeader:
    header = ChunkedHeader()
    start = file.read(12)
    order = ">" if start[:4] == b"RIFX" else "<"
    if start[:4] == b"BW64":  # RF64's younger name (ITU-R BS.2088), which libsndfile does not know
        header.patches[0] = b"RF64"
    (riff_bytes,) = struct.unpack(order + "I", start[4:8])
    data_bytes_64 = data_bytes_64_at = None
    for name, body, length in _chunks(file, 12, order + "I", alignment=2):
        if name == b"ds64":
            data_bytes_64_at = body + 8
            data_bytes_64 = int.from_bytes(_at(file, body + 8, 8), "little")
        elif name == b"fmt ":
            rate = _at(file, body + 4, 4)
            header.sample_rate = struct.unpack(order + "I", rate)[0] if len(rate) == 4 else None
        elif name == b"data":
            there = max(0, file_bytes - body)
            header.data_start = body
            if data_bytes_64_at is not None and length == _UNKNOWN_32:
                header.data_bytes = data_bytes_64
                if data_bytes_64 in (0, _UNKNOWN_64):
                    header.data_bytes = there
                    header.patches[data_bytes_64_at] = there.to_bytes(8, "little")
            elif _is_unfilled(length, riff_bytes, file_bytes):
                if there > _UNKNOWN_32:
                    raise InputError(
                        "a WAV of unknown length cannot be larger than 4 GiB; write RF64 instead", code="undecodable"
                    )
                header.data_bytes = there
                header.patches[body - 4] = struct.pack(order + "I", there)
            else:
                header.data_bytes = length
            break
    return header


def _is_unfilled(data_bytes: int, riff_bytes: int, file_bytes: int) -> bool:
    """True for a size never filled in; a size of 0 is honest when the outer size agrees with the file."""
    return data_bytes == _UNKNOWN_32 or (data_bytes == 0 and riff_bytes + 8 != file_bytes)


def _read_aiff(file: BinaryIO) -> ChunkedHeader:
    header = ChunkedHeader()
    for name, body, length in _chunks(file, 12, ">I", alignment=2):
        if name == b"COMM":
            rate = _at(file, body + 8, 10)
            if len(rate) == 10:
                header.sample_rate = _from_extended(rate)
        elif name == b"SSND":
            header.data_start, header.data_bytes = body, length
        if header.data_start is not None and header.sample_rate is not None:
            break
    return header


def _read_caf(file: BinaryIO, file_bytes: int) -> ChunkedHeader:
    header = ChunkedHeader()
    for name, body, length in _chunks(file, 8, ">Q", alignment=1):
        if name == b"desc":
            rate = _at(file, body, 8)
            header.sample_rate = struct.unpack(">d", rate)[0] if len(rate) == 8 else None
        elif name == b"data":
            header.data_start, header.data_bytes = body, length
            if length == _UNKNOWN_64:
                header.data_bytes = max(0, file_bytes - body)
                header.patches[body - 8] = header.data_bytes.to_bytes(8, "big")
            break
    return header


def _chunks(file: BinaryIO, start: int, size_format: str, alignment: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, byte of the body and length of each chunk from `start` on."""
    size_length = struct.calcsize(size_format)
    position = start
    file_bytes = os.fstat(file.fileno()).st_size
    while position < file_bytes:
        head = _at(file, position, 4 + size_length)
        if len(head) < 4 + size_length:
            return
        (length,) = struct.unpack(size_format, head[4:])
        body = position + 4 + size_length
        yield head[:4], body, length
        position = body + length + (-length % alignment)


def _at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _from_extended(number: bytes) -> float:
    """An 80-bit extended float, big-endian: sign and 15-bit exponent, 64-bit mantissa with its leading 1 written."""
    exponent = int.from_bytes(number[:2], "big") & 0x7FFF
    mantissa = int.from_bytes(number[2:], "big")
    return mantissa * 2.0 ** max(min(exponent - 16_383 - 63, 900), -1_000)
