"""Frames of MPEG audio (mp3): where they begin and end, how many there are, and what an Info tag promises.

An mp3 has no header for the whole; libsndfile takes the first frame's word or extrapolates from the file size. So the
frames are counted here (0.1 s for an hour), which tells a truncated file from a whole one, and a promise that is too
small (files put one after the other) from a true one.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# What all frames of a stream have in common: sync, version, layer, sample rate.
_STREAM_MASK = 0xFFFE_0C00
# How far from where it is expected a first frame is looked for, as players do.
_SEARCH_LENGTH = 64 * 1024

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
    """

    start: int
    end: int
    header: FrameHeader
    num_frames: int
    promised_frames: int | None
    audio_start: int


def find_first_frame(head: bytes) -> int | None:
    """Byte of the first of two consistent frames in a row, or of one that fills the rest; None: there is no MPEG audio
    here.
    """
    return _find_frame(_Window(io.BytesIO(head)), 0, _SEARCH_LENGTH, None)


def read_mpeg_stream(path: Path, start: int) -> MpegStream | None:
    """Walks all frames from byte `start` on; None where there are none."""
    with path.open("rb") as file:
        window = _Window(file)
        first = _find_frame(window, start, start + _SEARCH_LENGTH, None)
        if first is None:
            return None
        header = parse_frame_header(window.read(first, 4))
        assert header is not None  # _find_frame gives places of valid headers
        has_tag, promised = _read_tag(window.read(first, header.length), header)
        num_frames, end = _count_frames(window, first)
        return MpegStream(
            first, end, header, num_frames - has_tag, promised, first + header.length if has_tag else first
        )


def parse_frame_header(word: bytes) -> FrameHeader | None:
    """Reads four bytes as a frame header (ISO 11172-3, section 2.4.1.3); None: they are none, or of the free format."""
    if len(word) < 4 or word[0] != 0xFF or word[1] & 0xE0 != 0xE0:
        return None
    version = word[1] >> 3 & 3
    layer = 4 - (word[1] >> 1 & 3)
    bit_rate_index = word[2] >> 4
    rate_index = word[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg_1 = version == 3
    bit_rate = 1000 * _BIT_RATES_KBPS[is_mpeg_1, layer][bit_rate_index - 1]
    sample_rate = _SAMPLE_RATES[version][rate_index]
    padding = word[2] >> 1 & 1
    is_mono = word[3] >> 6 == 3
    samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    if layer == 1:
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


def _count_frames(window: _Window, first: int) -> tuple[int, int]:
    """Number of whole frames from `first` on, and the byte behind the last; bytes between frames are stepped over."""
    stream = int.from_bytes(window.read(first, 4), "big") & _STREAM_MASK
    length_of = _lengths_by_header(stream)
    position = end = first
    count = 0
    while position < window.file_bytes:
        length = length_of(window.read(position, 4))
        if length:
            position += length
            if position > window.file_bytes:
                break
            count += 1
            end = position
        else:
            following = _find_frame(window, position, window.file_bytes, stream)
            if following is None:
                break
            position = following
    return count, end


def _lengths_by_header(stream: int) -> Callable[[bytes], int]:
    """A function from a header's four bytes to the frame's length, 0 for what is no frame of this stream; answers are
    kept.
    """
    known: dict[bytes, int] = {}

    def length_of(word: bytes) -> int:
        length = known.get(word)
        if length is None:
            header = parse_frame_header(word)
            is_ours = header is not None and int.from_bytes(word, "big") & _STREAM_MASK == stream
            length = known[word] = header.length if header is not None and is_ours else 0
        return length

    return length_of


def _find_frame(window: _Window, start: int, stop: int, stream: int | None) -> int | None:
    """Byte in `start … stop` of a frame (of this stream) that another follows, or that ends the file."""
    position = window.find(b"\xff", start, stop)
    while position is not None:
        word = window.read(position, 4)
        header = parse_frame_header(word)
        if header is not None:
            common = int.from_bytes(word, "big") & _STREAM_MASK
            following = window.read(position + header.length, 4)
            is_followed = (
                parse_frame_header(following) is not None and int.from_bytes(following, "big") & _STREAM_MASK == common
            )
            is_last = position + header.length == window.file_bytes
            if (stream is None or common == stream) and (is_followed or is_last):
                return position
        position = window.find(b"\xff", position + 1, stop)
    return None


class _Window:
    """A file read forward, with a stretch of it held in memory: memory does not grow with the file."""

    _LENGTH = 1 << 18
    # Reading goes back by no more than a frame (2880 bytes at most).
    _KEPT_BEHIND = 1 << 12

    def __init__(self, file: BinaryIO) -> None:
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

    def find(self, wanted: bytes, start: int, stop: int) -> int | None:
        """First place of a byte in `start … stop`."""
        while start < min(stop, self.file_bytes):
            stretch = self.read(start, min(stop - start, 4_096))
            place = stretch.find(wanted)
            if place >= 0:
                return start + place
            start += len(stretch)
        return None
