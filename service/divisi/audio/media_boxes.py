"""Is an MP4 or WebM file whole? Their outermost boxes say how long they are; FFmpeg plays what is there and stays
silent.
"""

from __future__ import annotations

import io

from divisi.audio.spliced_file import Seekable
from divisi.contract.errors import InputError

_SEGMENT_ID = b"\x18\x53\x80\x67"
# Outermost boxes of MP4 and QuickTime. Old QuickTime has no `ftyp`. Sound lies in `mdat`; `moov` and `moof` say where.
_BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide pnot udta uuid sidx ssix prft emsg mfra meta PICT pdin bloc".split()
)
_NEEDED_BOXES = frozenset({b"moov", b"moof", b"mdat"})
_LONGEST_FIRST_BOX = 1 << 48


def begins_with_box(head: bytes) -> bool:
    """True for the first bytes of an MP4 or QuickTime file."""
    length = int.from_bytes(head[:4], "big")
    return head[4:8] in _BOXES and (length in (0, 1) or length >= 8)


def check_is_whole(file: Seekable, container: str) -> None:
    """Raises InputError `undecodable` when an outermost box of an `m4a` or `webm` file reaches beyond its end, or when
    an `m4a` file has no index.
    """
    file_bytes = file.seek(0, io.SEEK_END)
    end = 0
    if container == "m4a":
        end = _end_of_boxes(file, file_bytes)
    elif container == "webm":
        end = _end_of_segment(file)
    if end > file_bytes:
        raise InputError(
            f"the file is truncated: it should have {end} bytes, {file_bytes} are there", code="undecodable"
        )


def _end_of_boxes(file: Seekable, file_bytes: int) -> int:
    """Where the last box ends that is needed (ISO 14496-12, section 4.2): 32-bit length, type; length 1: 64 bits
    follow; 0: to the end.
    """
    position = end = 0
    seen = set()
    while position < file_bytes:
        file.seek(position)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if name not in _BOXES and not name.isalnum():
            break  # padding behind the last box
        seen.add(name)
        if length == 0:
            break  # up to the end of the file
        position += max(length, 8)
        if name in _NEEDED_BOXES or not _is_complete(seen):
            end = position
    if end <= file_bytes and b"moov" not in seen:
        raise InputError(
            "the file is unfinished: it has no index (`moov`), as when a recorder is interrupted; the device or a "
            "repair program may be able to write it",
            code="undecodable",
        )
    return end


def _is_complete(seen: set[bytes]) -> bool:
    """True where index and sound are there: what reaches beyond the end is not needed."""
    return b"moov" in seen and bool(seen & {b"mdat", b"moof"})


def _end_of_segment(file: Seekable) -> int:
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
