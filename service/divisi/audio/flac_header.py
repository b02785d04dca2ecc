"""The first metadata block of a FLAC file, STREAMINFO (RFC 9639, section 8.2): rate, word length, promised number of
samples.

libsndfile stops at the promised number even when audio goes on, so the decoder is shown 0 ("unknown") and decodes to
the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from divisi.errors import InputError

# Marker `fLaC`, block header, then STREAMINFO; its bytes 10 to 17 hold rate (20 bits), channels (3), word length (5),
# samples (36).
_FIELDS_AT = 4 + 4 + 10
_UNKNOWN_NUMBER = 0


@dataclass(frozen=True)
class FlacHeader:
    """Attributes: `sample_rate` (Hz), `bits` per sample, `num_samples` (None: not said), `patches` for PatchedFile."""

    sample_rate: int
    bits: int
    num_samples: int | None
    patches: dict[int, bytes]


def read_flac_header(path: Path, start: int) -> FlacHeader:
    """Reads the header at byte `start`. Raises InputError `undecodable` where the file ends before it does."""
    with path.open("rb") as file:
        file.seek(start + _FIELDS_AT)
        packed = file.read(8)
    if len(packed) < 8:
        raise InputError("the file is truncated: it ends within the FLAC header", code="undecodable")
    word = int.from_bytes(packed, "big")
    num_samples = word & 0xF_FFFF_FFFF
    without_number = (word - num_samples + _UNKNOWN_NUMBER).to_bytes(8, "big")
    return FlacHeader(
        sample_rate=word >> 44,
        bits=(word >> 36 & 0x1F) + 1,
        num_samples=num_samples or None,
        patches={start + _FIELDS_AT: without_number},
    )
