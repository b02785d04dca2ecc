"""Is an MP4 or WebM file whole? Their outermost boxes say how long they are; FFmpeg plays what is there and stays
silent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from divisi.errors import InputError

_SEGMENT_ID = b"\x18\x53\x80\x67"


def check_is_whole(path: Path, container: str) -> None:
    """Raises InputError `undecodable` when an outermost box of an `m4a` or `webm` file reaches beyond its end."""
    file_bytes = os.path.getsize(path)
    with path.open("rb") as file:
        if container == "m4a":
            end = _end_of_boxes(file, file_bytes)
        else:
            end = _end_of_segment(file) if container == "webm" else 0
    if end > file_bytes:
        raise InputError(
            f"the file is truncated: it should have {end} bytes, {file_bytes} are there", code="undecodable"
        )


def _end_of_boxes(file: BinaryIO, file_bytes: int) -> int:
    """Where the last box ends (ISO 14496-12, section 4.2): 32-bit length, type; length 1: 64 bits follow; 0: to the
    end.
    """
    position = 0
    while position < file_bytes:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0 or not head[4:8].isalnum():
            return position  # up to the end of the file, or padding behind the last box
        position += max(length, 8)
    return position


def _end_of_segment(file: BinaryIO) -> int:
    """Where the segment ends (RFC 8794: identifier, length, body); 0 where its length was left open, as in live
    recordings.
    """
    file.seek(0)
    head = file.read(64 * 1024)
    header_length, body = _read_length(head, 4)
    segment = body + (header_length or 0)
    if head[segment : segment + 4] != _SEGMENT_ID:
        return 0
    length, body = _read_length(head, segment + 4)
    return 0 if length is None else body + length


def _read_length(data: bytes, position: int) -> tuple[int | None, int]:
    """A length whose leading zero bits say how many bytes it takes; None when all its bits are 1 (unknown). And where
    it ends.
    """
    if position >= len(data) or data[position] == 0:
        return None, position
    num_bytes = 9 - data[position].bit_length()
    mask = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(data[position : position + num_bytes], "big") & mask
    return None if value == mask else value, position + num_bytes
