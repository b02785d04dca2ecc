"""Files on their way from the server: tried again from where they broke off, checked, and put where nothing is lost.

No connection here: both clients ask for the bytes, an `Arrival` says which, and what to do when they do not come.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, cast

import httpx

from divisi.client.records import File, LearningTracks
from divisi.client.wire import Tries, address_of, problem_to_error, target_of
from divisi.contract.errors import DivisiError, InputError, UnavailableError
from divisi.whole_files import UNFINISHED_PREFIX, place_new, sha256_of

_RANGE_NOT_SATISFIABLE = 416
_SHA256_TAG = re.compile(r'"([0-9a-f]{64})"')


class Arrival:
    """One file on its way, over as many answers as it takes.

    Args:
        href: where the server has it.
        name: as messages have it.
        path: where it is gathered; it does not exist yet.
        target: its place when it is complete.
        announced: its record, where the server gave one.
    """

    def __init__(self, href: str, name: str, path: Path, target: Path, announced: File | None = None) -> None:
        self.address = address_of(href)
        self.name = name
        self.path = path
        self.target = target
        self.is_complete = False
        self._announced = announced
        self._file = path.open("xb")
        self._size = self._most = 0
        self._tag: str | None = None
        self._digest = hashlib.sha256()
        self._tries = Tries()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def headers(self) -> dict[str, str]:
        """What the next request asks for: the rest, if the file is still the same; else all of it."""
        headers = {"Accept-Encoding": "identity"}
        if self._size and self._tag:
            headers |= {"Range": f"bytes={self._size}-", "If-Range": self._tag}
        return headers

    def begin(self, answer: httpx.Response) -> None:
        """Takes the head of an answer whose error, if it is one, has been read.

        Raises:
            DivisiError: the answer holds nothing of the file.
        """
        if not answer.is_success:
            if answer.status_code == _RANGE_NOT_SATISFIABLE:
                self._start_anew()
                raise UnavailableError(f"{self.name} is shorter on the server than what came of it")
            raise problem_to_error(answer)
        is_rest = answer.headers.get("content-range", "").startswith(f"bytes {self._size}-")
        if answer.status_code != httpx.codes.PARTIAL_CONTENT or not is_rest:
            self._start_anew()
        if answer.status_code == httpx.codes.PARTIAL_CONTENT and not is_rest:
            raise UnavailableError(f"the server sent another part of {self.name} than it was asked for")
        tag = answer.headers.get("etag", "")
        is_usable = tag.startswith('"') and "content-encoding" not in answer.headers
        self._tag = tag if is_usable else None

    def write(self, block: bytes) -> None:
        """Takes the next bytes; OSError when there is no room for them."""
        self._file.write(block)
        self._digest.update(block)
        self._size += len(block)

    def end(self) -> None:
        """The answer is over; waits until what came is on the disk.

        Raises:
            OSError: there is no room for it.
            UnavailableError: what came is not all, or not what was announced.
        """
        if self._announced is not None and self._size < self._announced["bytes"]:
            length = self._announced["bytes"]
            raise UnavailableError(f"download of {self.name} broke off after {self._size} of {length} bytes")
        stated = _SHA256_TAG.fullmatch(self._tag or "")
        expected = self._announced["sha256"] if self._announced else stated and stated[1]
        if expected and self._digest.hexdigest() != expected:
            self._start_anew()
            raise UnavailableError(f"{self.name} arrived damaged (SHA-256 differs); try again")
        # Whoever has the file may erase it on the server next.
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.is_complete = True

    def pause(self, error: httpx.HTTPError | DivisiError) -> float:
        """Seconds until the next try; raises what made this one fail when there is none."""
        if self._size > self._most:
            self._most = self._size
            self._tries.start_anew()
        if isinstance(error, httpx.HTTPError):
            error = UnavailableError(f"download of {self.name} broke off: {error or type(error).__name__}")
        return self._tries.pause(error)

    def _start_anew(self) -> None:
        self._most = max(self._most, self._size)
        self._file.seek(0)
        self._file.truncate()
        self._size = 0
        self._digest = hashlib.sha256()


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: its address, what messages call it, its place, and its record, where there is one."""

    href: str
    name: str
    target: Path
    announced: File | None = None


def wanted_files(files: Sequence[File], folder: Path) -> list[Wanted]:
    """Files of a job's record and their places in a folder."""
    return [Wanted(file["href"], file["name"], target_of(file, folder), file) for file in files]


def wanted_tracks(made: LearningTracks, folder: Path) -> list[Wanted]:
    """Learning tracks that are made, and their places in a folder."""
    return wanted_files([cast(File, {"name": track["title"], **track}) for track in made["tracks"]], folder)


@contextmanager
def arriving(wanted: Sequence[Wanted], folder: Path) -> Iterator[list[Arrival]]:
    """Files on their way into a folder, but for those that are there already.

    When the block ends well, all are in their places; when it fails, none of them is, and nothing half-written.

    Raises:
        InputError: `would-replace`, at a place is another file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [one for one in wanted if not _is_there(one)]
    with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=folder) as scratch, ExitStack() as opened:
        arrivals = [
            opened.enter_context(Arrival(one.href, one.name, Path(scratch) / str(place), one.target, one.announced))
            for place, one in enumerate(missing)
        ]
        yield arrivals
        for arrival in arrivals:
            put(arrival.path, arrival.target)


@contextmanager
def unpacking(href: str, folder: Path) -> Iterator[Arrival]:
    """An exported comparison on its way, which is unpacked into the folder when the block ends well.

    Raises:
        InputError: `would-replace`, the folder holds another file of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=folder) as scratch:
        archive, unpacked = Path(scratch) / "archive", Path(scratch) / "files"
        with Arrival(href, "the comparison", archive, folder) as arrival:
            yield arrival
        try:
            with zipfile.ZipFile(archive) as opened:  # keeps everything within the folder, whatever its names say
                opened.extractall(unpacked)
        except zipfile.BadZipFile as error:
            raise UnavailableError(f"the exported comparison arrived damaged ({error}); try again") from error
        places = {path: folder / path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()}
        for path, target in places.items():
            _require_free(path, target)
            if not target.parent.resolve().is_relative_to(folder.resolve()):  # by a link in the folder
                raise _would_replace(target)
        for path, target in places.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            put(path, target)


def put(path: Path, target: Path) -> None:
    """Moves a complete file to its place, unless there is one; one of the same bytes does as well.

    Raises:
        InputError: `would-replace`.
    """
    _require_free(path, target)
    if not os.path.lexists(target):
        place_new(path, target)


def _require_free(path: Path, target: Path) -> None:
    is_same = target.is_file() and filecmp.cmp(path, target, shallow=False)
    if os.path.lexists(target) and not is_same:
        raise _would_replace(target)


def _is_there(wanted: Wanted) -> bool:
    """True when the very file lies in its place."""
    if wanted.announced is None or not os.path.lexists(wanted.target):
        return False
    is_as_long = wanted.target.is_file() and wanted.target.stat().st_size == wanted.announced["bytes"]
    if is_as_long and sha256_of(wanted.target) == wanted.announced["sha256"]:
        return True
    raise _would_replace(wanted.target)


def _would_replace(target: Path) -> InputError:
    return InputError(
        f"{target} is there already and holds something else; move it away, or choose another folder",
        code="would-replace",
    )
