"""Where the files of one separation go: asked before the work, given each file when all of them are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from divisi.whole_files import UNFINISHED_PREFIX, replaces_recording


class Destination(Protocol):
    """Takes the files of one separation."""

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
