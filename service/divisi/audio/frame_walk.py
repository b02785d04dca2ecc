"""Streams that are frames and nothing else (MPEG audio, AAC as ADTS): where the first frame is, and the last.

Such a stream has no header for the whole, may begin within a frame where a recorder tuned in, and may have anything in
front and behind. Frames know their length, so a place is one where several follow each other.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from divisi.audio.spliced_file import Seekable

# How far from where it is expected a first frame is looked for, as players do.
SEARCH_BYTES = 256 * 1024
# Frames in a row that prove a stream: where it is expected, or was lost; and where it is looked for in other bytes.
_RUN_EXPECTED = 2
_RUN_SEARCHED = 4
_LONGEST_SYNC = 3


@dataclass(frozen=True)
class FrameKind:
    """Attributes:
    sync: what a header begins with.
    head_bytes: of a header.
    mask: the bits of a header that all frames of a stream have in common.
    length_of: bytes of the frame with this header; 0: it is none.
    """

    sync: re.Pattern[bytes]
    head_bytes: int
    mask: int
    length_of: Callable[[bytes], int]

    def stream_of(self, head: bytes) -> int:
        """What the frames of a stream have in common."""
        return int.from_bytes(head, "big") & self.mask


def find_first_frame(window: Window, kind: FrameKind) -> int | None:
    """Byte of the first frame of a stream, at the beginning or behind other bytes; None: there is none."""
    if is_run(window, kind, 0, _RUN_EXPECTED):
        return 0
    return _find_run(window, kind, 0, min(SEARCH_BYTES, window.file_bytes), _RUN_SEARCHED)


def count_frames(window: Window, kind: FrameKind, first: int) -> tuple[int, int]:
    """Number of whole frames from `first` on, and the byte behind the last; bytes between frames are stepped over."""
    stream = kind.stream_of(window.read(first, kind.head_bytes))
    known: dict[bytes, int] = {}
    position = end = first
    count = 0
    while position < window.file_bytes:
        head = window.read(position, kind.head_bytes)
        length = known.get(head)
        if length is None:
            length = known[head] = kind.length_of(head) if kind.stream_of(head) == stream else 0
        if length:
            position += length
            if position > window.file_bytes:
                break
            count += 1
            end = position
        else:
            following = _find_run(window, kind, position, window.file_bytes, _RUN_EXPECTED, stream)
            if following is None:
                break
            position = following
    return count, end


def _find_run(
    window: Window, kind: FrameKind, start: int, stop: int, needed: int, stream: int | None = None
) -> int | None:
    """Byte in `start … stop` where so many frames (of this stream) follow each other, or fill the rest."""
    position = window.find(kind.sync, start, stop)
    while position is not None:
        if is_run(window, kind, position, needed, stream):
            return position
        position = window.find(kind.sync, position + 1, stop)
    return None


def is_run(window: Window, kind: FrameKind, position: int, needed: int, stream: int | None = None) -> bool:
    """True where so many frames (of this stream) follow each other from a place on, or fill the rest."""
    for number in range(needed):
        head = window.read(position, kind.head_bytes)
        if 2 * number >= needed and position == window.file_bytes:
            return True
        length = kind.length_of(head)
        if stream is None:
            stream = kind.stream_of(head)
        if not length or kind.stream_of(head) != stream:
            return False
        position += length
    return True


class Window:
    """A file read forward, with a stretch of it held in memory: memory does not grow with the file."""

    _LENGTH = 1 << 18
    # Reading goes back by no more than a run of frames (of 8 KiB at most).
    _KEPT_BEHIND = 1 << 15

    def __init__(self, file: Seekable) -> None:
        self._file = file
        self.file_bytes = file.seek(0, io.SEEK_END)
        self._start = 0
        self._bytes = b""

    def read(self, position: int, length: int) -> bytes:
        """Bytes from a position on; fewer at the end of the file."""
        place = position - self._start
        if place < 0 or place + length > len(self._bytes):
            self._start = max(0, position - self._KEPT_BEHIND)
            self._file.seek(self._start)
            self._bytes = self._file.read(self._KEPT_BEHIND + max(length, self._LENGTH))
            place = position - self._start
        return self._bytes[place : place + length]

    def find(self, wanted: re.Pattern[bytes], start: int, stop: int) -> int | None:
        """First place in `start … stop` of a sync of at most three bytes."""
        while start < min(stop, self.file_bytes):
            stretch = self.read(start, min(stop - start, 4_096) + _LONGEST_SYNC - 1)
            match = wanted.search(stretch)
            if match is not None:
                return start + match.start()
            start += max(len(stretch) - _LONGEST_SYNC + 1, 1)
        return None
