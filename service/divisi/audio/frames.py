"""Streams that are frames and nothing else (MPEG audio, AAC as ADTS): where the first frame is, and the last.

Such a stream has no header for the whole, may begin within a frame where a recorder tuned in, and may have anything in
front and behind. Frames know their length, so a place is one where several follow each other. Of mp3, libsndfile takes
the first frame's word for the whole length or extrapolates from the file size; so the frames are counted here (0.1 s
for an hour), which shows whether a file is truncated, and whether its promise is too small (files put one after the
other).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from divisi.audio.source import Seekable, bytes_at, find_all

# How far from where it is expected a first frame is looked for, as players do.
_SEARCH_BYTES = 256 * 1024
# Frames in a row that prove a stream: where it is expected, or was lost; and where it is looked for in other bytes.
_RUN_EXPECTED = 2
_RUN_SEARCHED = 4
_FREE_RUN = 4
_FREE_PLACES_TRIED = 64
# A frame of the free format has at most so many bytes (640 kbit/s at 8 kHz).
_LONGEST_FREE_FRAME = 5_760

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
_ADTS_HEAD_BYTES = 7
_NUM_ADTS_RATES = 13


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
    found = _find_mpeg(file)
    return None if found is None else found[1]


def read_mpeg_stream(file: Seekable) -> MpegStream | None:
    """Walks all frames; None where there are none."""
    found = _find_mpeg(file)
    if found is None:
        return None
    kind, first = found
    head = bytes_at(file, first, kind.head_bytes)
    length = kind.length_of(head)
    header = parse_frame_header(head, length)
    assert header is not None  # frames are found by valid headers
    has_tag, promised = _read_tag(bytes_at(file, first, length), header)
    num_frames, end = _count_frames(file, kind, first)
    audio_start = first + length if has_tag else first
    return MpegStream(first, end, header, num_frames - has_tag, promised, audio_start, kind is not _MPEG)


def read_adts_stream(file: Seekable) -> range | None:
    """From the first frame of AAC to the end of the last whole one; None where there are none."""
    first = _find_first_frame(file, _ADTS)
    return None if first is None else range(first, _count_frames(file, _ADTS, first)[1])


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
    version, layer = word[1] >> 3 & 3, 4 - (word[1] >> 1 & 3)
    bit_rate_index, rate_index = word[2] >> 4, word[2] >> 2 & 3
    if version == 1 or layer == 4 or bit_rate_index == 15 or rate_index == 3:
        return None
    if bit_rate_index == 0 and not free_bytes:
        return None
    is_mpeg_1 = version == 3
    bit_rate = 1000 * _BIT_RATES_KBPS[is_mpeg_1, layer][bit_rate_index - 1]
    sample_rate = _SAMPLE_RATES[version][rate_index]
    padding = word[2] >> 1 & 1
    num_channels = 1 if word[3] >> 6 == 3 else 2
    samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    if bit_rate_index == 0:
        length = free_bytes + padding * (4 if layer == 1 else 1)
    elif layer == 1:
        length = (12 * bit_rate // sample_rate + padding) * 4
    else:
        length = samples // 8 * bit_rate // sample_rate + padding
    checksum_bytes = 0 if word[1] & 1 else 2
    side_info_bytes = {(True, 1): 17, (True, 2): 32, (False, 1): 9, (False, 2): 17}[is_mpeg_1, num_channels]
    return FrameHeader(sample_rate, num_channels, layer, length, samples, 4 + checksum_bytes + side_info_bytes)


def _read_tag(frame: bytes, header: FrameHeader) -> tuple[bool, int | None]:
    """Whether a frame is an Info, Xing or VBRI tag instead of audio, and the number of frames it promises."""
    for place in (header.side_info_end, 36, 21, 13):
        if frame[place : place + 4] in (b"Xing", b"Info"):
            has_count = int.from_bytes(frame[place + 4 : place + 8], "big") & 1
            return True, int.from_bytes(frame[place + 8 : place + 12], "big") if has_count else None
    if frame[36:40] == b"VBRI":
        return True, int.from_bytes(frame[50:54], "big")
    return False, None


@dataclass(frozen=True)
class _FrameKind:
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


def _mpeg_length(head: bytes, free_bytes: int = 0) -> int:
    header = parse_frame_header(head, free_bytes)
    return 0 if header is None else header.length


def _adts_length(head: bytes) -> int:
    """ISO 13818-7, section 6.2: 12 ones, layer 0, a rate that exists; the length in 13 bits counts the header."""
    if len(head) < _ADTS_HEAD_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    if head[2] >> 2 & 0x0F >= _NUM_ADTS_RATES:
        return 0
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    return length if length >= _ADTS_HEAD_BYTES else 0


# What stays: sync, version, layer, sample rate; of the free format also the bit rate's index, which is 0.
_MPEG = _FrameKind(re.compile(rb"\xff[\xe2-\xff]"), 4, 0xFFFE_0C00, _mpeg_length)
_FREE_SYNC, _FREE_MASK = re.compile(rb"\xff[\xe2-\xff][\x00-\x0b]", re.DOTALL), 0xFFFE_FC00
# What stays: version, layer, checksum, profile, rate, channels.
_ADTS = _FrameKind(re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _ADTS_HEAD_BYTES, 0xFFFF_FDC0 << 24, _adts_length)


def _find_mpeg(file: Seekable) -> tuple[_FrameKind, int] | None:
    """The kind of the frames, and the byte of the first."""
    first = _find_first_frame(file, _MPEG)
    return _find_free_format(file) if first is None else (_MPEG, first)


def _find_free_format(file: Seekable) -> tuple[_FrameKind, int] | None:
    """Frames whose length is not in their headers: one that repeats from some place on, if there is any."""
    stop = min(_SEARCH_BYTES, file.seek(0, io.SEEK_END))
    for _, (position, head) in zip(range(_FREE_PLACES_TRIED), find_all(file, _FREE_SYNC, 4, 0, stop), strict=False):
        padding = _mpeg_length(head, 1) - 1
        if padding < 0:
            continue
        stretch = bytes_at(file, position + 4, _LONGEST_FREE_FRAME - 4)
        for match in re.finditer(re.escape(head[:2]), stretch):
            length_of = partial(_mpeg_length, free_bytes=4 + match.start() - padding)
            kind = _FrameKind(_FREE_SYNC, 4, _FREE_MASK, length_of)
            if _is_run(file, kind, position, _FREE_RUN):
                return kind, position
    return None


def _find_first_frame(file: Seekable, kind: _FrameKind) -> int | None:
    """Byte of the first frame of a stream, at the beginning or behind other bytes; None: there is none."""
    if _is_run(file, kind, 0, _RUN_EXPECTED):
        return 0
    places = find_all(file, kind.sync, kind.head_bytes, 0, min(_SEARCH_BYTES, file.seek(0, io.SEEK_END)))
    return next((place for place, _ in places if _is_run(file, kind, place, _RUN_SEARCHED)), None)


def _count_frames(file: Seekable, kind: _FrameKind, first: int) -> tuple[int, int]:
    """Number of whole frames from `first` on, and the byte behind the last; bytes between frames are stepped over."""
    file_bytes = file.seek(0, io.SEEK_END)
    stream = kind.stream_of(bytes_at(file, first, kind.head_bytes))
    known: dict[bytes, int] = {}
    position: int | None = first
    end, count = first, 0
    while position is not None and position < file_bytes:
        head = bytes_at(file, position, kind.head_bytes)
        length = known.get(head)
        if length is None:
            length = known[head] = kind.length_of(head) if kind.stream_of(head) == stream else 0
        if length:
            position += length
            if position > file_bytes:
                break
            count += 1
            end = position
        else:
            places = find_all(file, kind.sync, kind.head_bytes, position, file_bytes)
            position = next((place for place, _ in places if _is_run(file, kind, place, _RUN_EXPECTED, stream)), None)
    return count, end


def _is_run(file: Seekable, kind: _FrameKind, position: int, needed: int, stream: int | None = None) -> bool:
    """True where so many frames (of this stream) follow each other from a place on, or fill the rest."""
    for number in range(needed):
        head = bytes_at(file, position, kind.head_bytes)
        if not head and 2 * number >= needed:
            return position == file.seek(0, io.SEEK_END)
        length = kind.length_of(head)
        if stream is None:
            stream = kind.stream_of(head)
        if not length or kind.stream_of(head) != stream:
            return False
        position += length
    return True
