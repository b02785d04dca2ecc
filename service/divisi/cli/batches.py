"""Several recordings into one folder: which folder is whose, and whose fault an error is."""

from __future__ import annotations

import errno
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from divisi.cli.out_folder import NOTE_NAME, read_note
from divisi.contract.errors import AccessError, DivisiError, LimitError, UnavailableError
from divisi.whole_files import UNFINISHED_PREFIX

# What ends a run at once: every other recording would meet the same.
_FAULTS_OF_THE_RUN = (AccessError, LimitError, UnavailableError, ModuleNotFoundError)
_OPTIONS_REFUSED = frozenset(
    {
        *("unknown-model", "missing-model", "no-models", "no-worker-for-model", "damaged-bundle", "damaged-card"),
        *("unknown-stem", "unknown-voice", "voices-not-supported", "fit-not-supported", "invalid-fit-option"),
        *("unknown-engine", "engine-closed", "wrong-device", "missing-library"),
    }
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
# Bytes of a name, on all file systems that matter.
_LONGEST_NAME = 255


def digest_of(paths: Sequence[Path], asked: str = "None") -> str:
    """Of the recordings' bytes and of what is asked of them, whatever the files are called."""
    digest = hashlib.sha256(asked.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def ends_the_run(error: Exception) -> bool:
    """False for an error that one recording has by itself: the others can be done all the same."""
    if isinstance(error, DivisiError):
        return isinstance(error, _FAULTS_OF_THE_RUN) or error.code in _OPTIONS_REFUSED
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, _FAULTS_OF_THE_RUN)


def reason_of(error: Exception) -> str:
    """What an error says, in one sentence."""
    if isinstance(error, DivisiError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def folders_for(paths: Sequence[Path], digests: Sequence[str], out: Path) -> list[Path]:
    """A folder in `out` for each recording, all different, on file systems that fold case and accents, too.

    What an earlier run made of the same content is found whatever recording and folder are called now. A new folder
    is named after the recording, and never one that holds anything else.

    Args:
        paths: of the recordings.
        digests: of their content.
        out: the folder of folders; it need not be there.
    """
    made: dict[str, list[Path]] = {}
    for folder in _folders_in(out):
        if note := read_note(folder):
            made.setdefault(note.recording, []).append(folder)
    chosen: dict[int, Path] = {}
    # Of several recordings of the same content each keeps the folder that has its name.
    for is_named in (True, False):
        for place, (path, digest) in enumerate(zip(paths, digests, strict=True)):
            for folder in made.get(digest, []):
                if place not in chosen and (not is_named or folder.name == folder_name(path)):
                    chosen[place] = folder
                    made[digest].remove(folder)
                    break
    taken = {_folded(entry.name) for entry in _entries(out) if not _is_left_over(entry)}
    for place, path in enumerate(paths):
        if place not in chosen:
            name = next(name for name in _names_for(path) if _folded(name) not in taken)
            chosen[place] = out / name
            taken.add(_folded(name))
    return [chosen[place] for place in range(len(paths))]


def folder_name(path: Path) -> str:
    """The name of a recording without extension, and without what would lead elsewhere, hide it or get lost on another
    system: dots in front, dots and spaces at the end.
    """
    name = os.path.splitext(path.name.lstrip(". "))[0].rstrip(". ")
    return name or "recording"


def _names_for(path: Path) -> Iterator[str]:
    """Names for a recording's folder, the best first."""
    name = folder_name(path)
    yield _joined(name)
    yield _joined(f"{path.absolute().parent.name.lstrip('. ')}-{name}".lstrip("-"))
    for number in count(2):
        yield _joined(name, f"-{number}")


def _joined(name: str, end: str = "") -> str:
    """As much of the name as fits in front of its end."""
    while len(os.fsencode(name + end)) > _LONGEST_NAME:
        name = name[:-1].rstrip(". ")
    return name + end


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _folders_in(out: Path) -> list[Path]:
    """Links are none: they lead out of here."""
    return sorted(entry for entry in _entries(out) if entry.is_dir() and not entry.is_symlink())


def _entries(out: Path) -> list[Path]:
    return list(out.iterdir()) if out.is_dir() else []


def _is_left_over(entry: Path) -> bool:
    """True for a folder in which a killed run had not finished anything."""
    if entry.is_symlink() or not entry.is_dir():
        return False
    note = read_note(entry)
    names = {inside.name for inside in _entries(entry)} - ({NOTE_NAME} if note and not note.files else set())
    return all(name.startswith(UNFINISHED_PREFIX) for name in names)
