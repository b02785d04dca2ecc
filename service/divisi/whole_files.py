"""Files that are complete: what is known of their bytes, and how they get a place where nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

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


class Destination(Protocol):
    """Takes the files of one separation: asked before the work, given each file when all of them are complete."""

    def check(self, names: Sequence[str]) -> None:
        """InputError if files of these names cannot be taken; nothing is made yet."""
        ...

    def unfinished(self) -> AbstractContextManager[Path]:
        """A folder to write the files in, gone at the end with all that was not published."""
        ...

    def publish(self, path: Path, sha256: str) -> Path:
        """Moves a complete file with this checksum to its place, and gives that."""
        ...


class PlainFolder:
    """A folder, made if missing. Files of the same names are replaced, but for the recording itself.

    Args:
        path: of the folder.
        recording: what is separated; a folder where it is in several files.
    """

    def __init__(self, path: Path, recording: Path) -> None:
        self._path = path
        self._recording = recording

    def check(self, names: Sequence[str]) -> None:
        """A singer's track is often called like a stem, `bass.wav`.

        Raises:
            InputError: `would-replace-recording`.
        """
        parts = list(self._recording.iterdir()) if self._recording.is_dir() else [self._recording]
        for place in (self._path / name for name in names):
            if place.exists() and any(place.samefile(part) for part in parts):
                raise replaces_recording(place)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder within the folder."""
        self._path.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=self._path) as scratch:
            yield Path(scratch)

    def publish(self, path: Path, sha256: str) -> Path:
        """Replaces what has the name."""
        return path.replace(self._path / path.name)
