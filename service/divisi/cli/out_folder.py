"""A folder for what is made of one recording, in which nothing is replaced but what an earlier run made of the same.

A note beside the files, `.divisi.json`, says what was made of which content. It is written before a file gets its
place, so that a run that is killed leaves no stem of which nobody knows.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, ValidationError

from divisi.contract.errors import InputError
from divisi.whole_files import UNFINISHED_PREFIX, place_new, replaces_recording, sha256_of

NOTE_NAME = ".divisi.json"
_LARGEST_NOTE_BYTES = 1 << 20

FileIdentity = tuple[int, int]
"""Device and number of a file, whatever its names."""


class Made(BaseModel):
    """A file that a run made."""

    model_config = ConfigDict(frozen=True)
    bytes: int
    sha256: str


class Note(BaseModel):
    """What runs made in a folder.

    Attributes:
        recording: digest of the content of what was separated.
        files: by name, the last two versions: a killed run may have left either.
        finished: names of the files by the digest of the request that they answer.
    """

    model_config = ConfigDict(frozen=True)
    recording: str
    files: dict[str, tuple[Made, ...]] = {}
    finished: dict[str, tuple[str, ...]] = {}


class OutFolder:
    """A Destination for `divisi separate`.

    Args:
        path: of the folder; made when the work begins.
        recording: digest of the content of what is separated.
        recordings: all that this run reads; none of them is ever replaced.
        replaces_others: take the place of what was made of another recording.
    """

    def __init__(
        self,
        path: Path,
        recording: str,
        recordings: frozenset[FileIdentity | None] = frozenset(),
        *,
        replaces_others: bool = False,
    ) -> None:
        self.path = path
        self.published: list[str] = []
        self._recording = recording
        self._recordings = recordings
        self._replaces_others = replaces_others

    def check(self, names: Sequence[str]) -> None:
        """Looks whether files of these names can be written.

        Raises:
            InputError: `not-a-folder`, `would-replace`, `would-replace-recording`.
        """
        _check_folder(self.path)
        note = self._note()
        for name in names:
            self._check_place(self.path / name, note)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder within the folder, which is left as it was if nothing is published."""
        self.check([])
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=self.path, ignore_cleanup_errors=True) as scratch:
                self._write(self._note())
                yield Path(scratch)
        finally:
            with suppress(OSError):
                if read_note(self.path) == Note(recording=self._recording):
                    (self.path / NOTE_NAME).unlink()
                if is_new:
                    self.path.rmdir()  # only when it is empty

    def publish(self, path: Path, sha256: str) -> Path:
        """Moves a complete file, which lies in the unfinished folder, to its place.

        Raises:
            InputError: as `check`; somebody else has put a file there meanwhile.
        """
        target, note, made = self.path / path.name, self._note(), Made(bytes=path.stat().st_size, sha256=sha256)
        self._check_place(target, note)
        earlier = note.files.get(path.name, ())[-1:]
        finished = note.finished
        if earlier != (made,):
            finished = {request: names for request, names in finished.items() if path.name not in names}
        files = {**note.files, path.name: (*earlier, made)}
        self._write(note.model_copy(update={"files": files, "finished": finished}))
        if target.exists():
            path.replace(target)
        else:
            place_new(path, target)
        self.published.append(path.name)
        return target

    def publish_all(self, scratch: Path) -> None:
        """Publishes every file of the unfinished folder, in order of their names, if all of them can be."""
        paths = sorted(path for path in scratch.iterdir() if path.is_file() and not path.name.startswith("."))
        self.check([path.name for path in paths])
        for path in paths:
            self.publish(path, sha256_of(path))

    def finish(self, request: str) -> None:
        """Notes that all is there that a request of this digest asks for."""
        note = self._note()
        finished = {**note.finished, request: tuple(self.published)}
        self._write(note.model_copy(update={"finished": finished}))

    def has_finished(self, request: str) -> bool:
        """True when all is there that a run of the same request made."""
        note = read_note(self.path)
        names = note.finished.get(request) if note and note.recording == self._recording else None
        return names is not None and all((self.path / name).is_file() for name in names)

    def _note(self) -> Note:
        """The folder's own note, or a new one; InputError when the folder is another recording's."""
        path = self.path / NOTE_NAME
        note = read_note(self.path)
        if note is None:
            if os.path.lexists(path):
                raise InputError(
                    f"{path} is no note of divisi's, and would be replaced; move it away, or write to another folder",
                    code="would-replace",
                )
            return Note(recording=self._recording)
        if note.recording == self._recording:
            return note
        if note.files and not self._replaces_others:
            raise InputError(
                f"{self.path} holds what was made of another recording; write to another folder with --out, or "
                "replace it with --again",
                code="would-replace",
            )
        return Note(recording=self._recording, files=note.files)

    def _check_place(self, target: Path, note: Note) -> None:
        if not os.path.lexists(target):
            return
        found = target.lstat()
        if identity_of(target) in self._recordings:
            raise replaces_recording(target)
        versions = note.files.get(target.name, ())
        if not stat.S_ISREG(found.st_mode) or not versions:
            raise InputError(
                f"{target} is there already and was not made by divisi; move it away, or write to another folder",
                code="would-replace",
            )
        if found.st_size not in {made.bytes for made in versions} or sha256_of(target) not in {
            made.sha256 for made in versions
        }:
            raise InputError(
                f"{target} was changed since divisi made it; move it away, or write to another folder",
                code="would-replace",
            )

    def _write(self, note: Note) -> None:
        written, target = self.path / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}", self.path / NOTE_NAME
        try:
            written.write_text(note.model_dump_json())
            if read_note(self.path) is None:
                place_new(written, target)
            else:
                written.replace(target)
        finally:
            written.unlink(missing_ok=True)


SeparateOne = Callable[[Sequence[Path], OutFolder, Callable[[float], None]], Sequence[str]]
"""Separates one recording, in one file or in several, into a folder, calling back with its progress 0..1. Gives what to
know of it, a sentence each.
"""


def check_writable(out: Path) -> None:
    """Makes the folder of a run if it is missing, and a file in it.

    Raises:
        InputError: `not-a-folder`.
        OSError: it cannot be written to.
    """
    _check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=out).cleanup()


def _check_folder(path: Path) -> None:
    existing = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if not existing.is_dir():
        raise InputError(f"{existing} is no folder; name another one with --out", code="not-a-folder")


def read_note(folder: Path) -> Note | None:
    """The note of a folder; None when it has none that is whole."""
    path = folder / NOTE_NAME
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_NOTE_BYTES:
            return None
        return Note.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def made_in(folder: Path) -> list[str]:
    """Names of the files that runs made in a folder and that are there."""
    note = read_note(folder)
    return [name for name in (note.files if note else ()) if (folder / name).is_file()]


def identity_of(path: Path) -> FileIdentity | None:
    """Which file a path leads to; None when it leads to none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
