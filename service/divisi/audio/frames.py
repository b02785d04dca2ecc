"""Streams that are frames and nothing else (MPEG audio, AAC as ADTS): where the first frame is, and the last.

Such a stream has no header for the whole, may begin within a frame where a recorder tuned in, and may have anything in
front and behind. Frames know their length, so a place is one where several follow each other.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from divisi.audio.source import Seekable

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


_BIT_RATES_KBPS = {
    # (is MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


# Of the free format also the bit rate's index, which is 0; a frame has at most so many bytes (640 kbit/s at 8 kHz).
_FREE_STREAM_MASK = 0xFFFE_FC00
_LONGEST_FREE_FRAME = 5_760
_FREE_FRAMES_IN_A_ROW = 4
_FREE_PLACES_TRIED = 64
_FREE_SYNC = re.compile(rb"\xff[\xe2-\xff][\x00-\x0b]", re.DOTALL)


@dataclass(frozen=True)
class FrameHeader:
    """What the four bytes at the start of a frame say. `length` in bytes, `samples` per channel."""

    sample_rate: int
    num_channels: int
    layer: int
    length: int
    samples: int
    side_info_end: int


@dataclass(frozen=True)
class MpegStream:
    """Attributes:
    start: byte of the first frame.
    end: byte behind the last whole frame.
    header: of the first frame.
    num_frames: frames that hold audio (the Info tag's is not one).
    promised_frames: what the Info, Xing or VBRI tag says; None: no tag, or it does not say.
    audio_start: byte of the first frame behind the tag's.
    is_free_format: headers do not say how long frames are.
    """

    start: int
    end: int
    header: FrameHeader
    num_frames: int
    promised_frames: int | None
    audio_start: int
    is_free_format: bool


def find_mpeg_stream(file: Seekable) -> int | None:
    """Byte of the first frame; None: there is none."""
    found = _find(Window(file))
    return None if found is None else found[1]


def read_mpeg_stream(file: Seekable) -> MpegStream | None:
    """Walks all frames; None where there are none."""
    window = Window(file)
    found = _find(window)
    return None if found is None else _read_stream(window, *found)


def _find(window: Window) -> tuple[FrameKind, int] | None:
    """The kind of the frames, and the byte of the first."""
    first = find_first_frame(window, MPEG)
    return _find_free_format(window) if first is None else (MPEG, first)


def _read_stream(window: Window, kind: FrameKind, first: int) -> MpegStream:
    head = window.read(first, kind.head_bytes)
    length = kind.length_of(head)
    header = parse_frame_header(head, length)
    assert header is not None  # find_first_frame gives places of valid headers
    has_tag, promised = _read_tag(window.read(first, length), header)
    num_frames, end = count_frames(window, kind, first)
    audio_start = first + length if has_tag else first
    return MpegStream(first, end, header, num_frames - has_tag, promised, audio_start, kind is not MPEG)


def parse_frame_header(word: bytes, free_bytes: int = 0) -> FrameHeader | None:
    """Reads four bytes as a frame header (ISO 11172-3, section 2.4.1.3).

    Args:
        word: the four bytes.
        free_bytes: length, without padding, of frames of the free format, whose headers do not say it; 0: there are
            none.

    Returns:
        None: they are no header.
    """
    if len(word) < 4 or word[0] != 0xFF or word[1] & 0xE0 != 0xE0:
        return None
    version = word[1] >> 3 & 3
    layer = 4 - (word[1] >> 1 & 3)
    bit_rate_index = word[2] >> 4
    rate_index = word[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate_index == 15 or rate_index == 3:
        return None
    if bit_rate_index == 0 and not free_bytes:
        return None
    is_mpeg_1 = version == 3
    bit_rate = 1000 * _BIT_RATES_KBPS[is_mpeg_1, layer][bit_rate_index - 1]
    sample_rate = _SAMPLE_RATES[version][rate_index]
    padding = word[2] >> 1 & 1
    is_mono = word[3] >> 6 == 3
    samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    if bit_rate_index == 0:
        length = free_bytes + padding * (4 if layer == 1 else 1)
    elif layer == 1:
        length = (12 * bit_rate // sample_rate + padding) * 4
    else:
        length = samples // 8 * bit_rate // sample_rate + padding
    has_checksum = not word[1] & 1
    side_info = (17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)
    return FrameHeader(
        sample_rate, 1 if is_mono else 2, layer, length, samples, 4 + (2 if has_checksum else 0) + side_info
    )


def _read_tag(frame: bytes, header: FrameHeader) -> tuple[bool, int | None]:
    """Whether a frame is an Info, Xing or VBRI tag instead of audio, and the number of frames it promises."""
    for place in (header.side_info_end, 36, 21, 13):
        if frame[place : place + 4] in (b"Xing", b"Info"):
            has_count = int.from_bytes(frame[place + 4 : place + 8], "big") & 1
            return True, int.from_bytes(frame[place + 8 : place + 12], "big") if has_count else None
    if frame[36:40] == b"VBRI":
        return True, int.from_bytes(frame[50:54], "big")
    return False, None


def _mpeg_length(head: bytes, free_bytes: int = 0) -> int:
    header = parse_frame_header(head, free_bytes)
    return 0 if header is None else header.length


# What stays: sync, version, layer, sample rate.
MPEG = FrameKind(re.compile(rb"\xff[\xe2-\xff]"), 4, 0xFFFE_0C00, _mpeg_length)


def _find_free_format(window: Window) -> tuple[FrameKind, int] | None:
    """Frames whose length is not in their headers: one that repeats from some place on, if there is any."""
    position = window.find(_FREE_SYNC, 0, SEARCH_BYTES)
    for _ in range(_FREE_PLACES_TRIED):
        if position is None:
            break
        head = window.read(position, 4)
        padding = _mpeg_length(head, 1) - 1
        stretch = window.read(position, _LONGEST_FREE_FRAME) if padding >= 0 else b""
        for match in re.finditer(re.escape(head[:2]), stretch[4:]):
            free_bytes = 4 + match.start() - padding
            kind = FrameKind(_FREE_SYNC, 4, _FREE_STREAM_MASK, partial(_mpeg_length, free_bytes=free_bytes))
            if is_run(window, kind, position, _FREE_FRAMES_IN_A_ROW):
                return kind, position
        position = window.find(_FREE_SYNC, position + 1, SEARCH_BYTES)
    return None


_HEAD_BYTES = 7
_NUM_RATES = 13


def _adts_length(head: bytes) -> int:
    """Sync of 12 ones, layer 0, a rate that exists; the length in 13 bits counts the header."""
    if len(head) < _HEAD_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 0x0F >= _NUM_RATES:
        return 0
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    return length if length >= _HEAD_BYTES else 0


# What stays: version, layer, checksum, profile, rate, channels.
ADTS = FrameKind(re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _HEAD_BYTES, 0xFFFF_FDC0 << 24, _adts_length)


def read_adts_stream(file: Seekable) -> range | None:
    """From the first frame to the end of the last whole one; None where there are none."""
    window = Window(file)
    first = find_first_frame(window, ADTS)
    return None if first is None else range(first, count_frames(window, ADTS, first)[1])
