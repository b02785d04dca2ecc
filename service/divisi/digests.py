"""What is known of a file's bytes from the one time they are read: their number, SHA-256 and CRC-32.

The first is the entity tag of a download and what clients check it by; ZIP archives announce the second before the
bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

_CHUNK_BYTES = 1024 * 1024


class Digests:
    """Adds bytes up."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.crc32 = 0

    def add(self, data: bytes | bytearray) -> None:
        """Takes the next bytes."""
        self._sha256.update(data)
        self.crc32 = zlib.crc32(data, self.crc32)

    @property
    def sha256(self) -> str:
        """Of all so far, in hex."""
        return self._sha256.hexdigest()


def digests_of(path: Path) -> Digests:
    """Of a file, read once."""
    digests = Digests()
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            digests.add(data)
    return digests
