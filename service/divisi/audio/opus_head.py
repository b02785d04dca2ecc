"""The first packet of Opus in Ogg (RFC 7845, section 5.1), as libsndfile must see it to decode all that there is.

Of a stream whose first page does not stand at 0 (a station's, or a part of a file) libsndfile keeps the samples that an
encoder puts in front, and takes as many away at the end. And it decodes at the rate that the sound had before it was
encoded, which is no more than a note: Opus always is at 48 kHz.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_FIELDS_AT = 10
_RATE = 48_000


@dataclass(frozen=True)
class OpusHead:
    """Attributes: `skip`: samples at 48 kHz that an encoder put in front; `shown`: the packet that claims none."""

    skip: int
    shown: bytes


def read_opus_head(packet: bytes) -> OpusHead:
    """Reads the packet that begins a stream; a short one is left for the decoder to refuse."""
    if len(packet) < _FIELDS_AT + 6:
        return OpusHead(0, packet)
    (skip,) = struct.unpack_from("<H", packet, _FIELDS_AT)
    return OpusHead(skip, packet[:_FIELDS_AT] + struct.pack("<HI", 0, _RATE) + packet[_FIELDS_AT + 6 :])
