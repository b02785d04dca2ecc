"""Frames of AAC in ADTS (ISO 13818-7, section 6.2): where they begin and end."""

from __future__ import annotations

import re

from divisi.audio.frame_walk import FrameKind, Window, count_frames, find_first_frame
from divisi.audio.spliced_file import Seekable

_HEAD_BYTES = 7
_NUM_RATES = 13


def _length_of(head: bytes) -> int:
    """Sync of 12 ones, layer 0, a rate that exists; the length in 13 bits counts the header."""
    if len(head) < _HEAD_BYTES or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 0x0F >= _NUM_RATES:
        return 0
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    return length if length >= _HEAD_BYTES else 0


# What stays: version, layer, checksum, profile, rate, channels.
ADTS = FrameKind(re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _HEAD_BYTES, 0xFFFF_FDC0 << 24, _length_of)


def read_adts_stream(file: Seekable) -> range | None:
    """From the first frame to the end of the last whole one; None where there are none."""
    window = Window(file)
    first = find_first_frame(window, ADTS)
    return None if first is None else range(first, count_frames(window, ADTS, first)[1])
