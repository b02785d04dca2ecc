"""Files that are complete: what is known of their bytes, and how they get a place where nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from pathlib import Path

from divisi.contract.errors import InputError

_CHUNK_BYTES = 1024 * 1024
# Of folders for files that are not complete; what a killed process leaves has it, too.
UNFINISHED_PREFIX = ".unfinished-"
# Said by file systems that have no hard links, such as those of USB sticks and cameras.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Digests:
    """Adds the bytes of a file up, the one time they are read.

    Their SHA-256 is the entity tag of a download and what clients check it by; ZIP archives announce the CRC-32 before
    the bytes.
    """

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


def sha256_of(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_new(path: Path, target: Path) -> None:
    """Moves a complete file to a place where there is none; a file that appears there meanwhile is not replaced.

    Raises:
        InputError: `would-replace`.
    """
    try:
        try:
            os.link(path, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            target.touch(exist_ok=False)  # ours from here on
            path.replace(target)
        else:
            path.unlink()
    except FileExistsError as error:
        raise InputError(
            f"{target} appeared while divisi worked, and is not replaced; move it away, or write to another folder",
            code="would-replace",
        ) from error


def replaces_recording(place: Path) -> InputError:
    """The error `would-replace-recording`."""
    return InputError(
        f"{place} is the recording itself, which a stem would replace; write to another folder",
        code="would-replace-recording",
    )
