"""FLAC: the first metadata block, STREAMINFO (RFC 9639, section 8.2), and files of several streams.

libsndfile stops at the promised number of samples even when audio goes on, so the decoder is shown 0 ("unknown") and
decodes to the end.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from divisi.audio.spliced_file import Seekable
from divisi.contract.errors import InputError

# Marker `fLaC`, block header, then STREAMINFO; its bytes 10 to 17 hold rate (20 bits), channels (3), word length (5),
# samples (36).
_FIELDS_AT = 4 + 4 + 10
_UNKNOWN_NUMBER = 0
# Marker, and a STREAMINFO of 34 bytes (which may be the last block in front of the sound).
_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_BEGINNING_BYTES = 8
_STRETCH = 1 << 20


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
        stretch = file.read(_STRETCH)
        places += [position + match.start() for match in _BEGINNING.finditer(stretch)]
        position += max(len(stretch) - _BEGINNING_BYTES + 1, 1)
    return places
