"""What is separated, the files that are named and in folders all recordings at any depth, and which folder is whose."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from divisi.cli.out_folder import NOTE_NAME, read_note
from divisi.cli.terminal import of_this_machine
from divisi.contract.card import RESERVED_STEMS
from divisi.contract.errors import DivisiError, InputError
from divisi.whole_files import UNFINISHED_PREFIX

# How recordings are called, by container. What a file holds decides whether it is read; this says what to take out of a
# folder.
EXTENSIONS: dict[str, tuple[str, ...]] = {
    "wav": (".wav", ".wave", ".bwf"),
    "rf64": (".rf64", ".bw64"),
    "aiff": (".aif", ".aiff", ".aifc"),
    "caf": (".caf",),
    "flac": (".flac",),
    "ogg": (".ogg", ".oga", ".ogv", ".opus", ".spx"),
    "mp3": (".mp3", ".mp2", ".mpa", ".mpga"),
    "aac": (".aac", ".adts"),
    "m4a": (".m4a", ".m4b", ".m4r", ".m4v", ".mp4", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4a", ".f4v"),
    "webm": (".webm", ".mkv", ".mka"),
}
# What systems put beside files: previews, waste, and what a foreign file system cannot hold. Besides hidden folders.
_LITTER_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
_APPLE_DOUBLE_PREFIX = "._"
TAKEN = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)
# Bytes of a name, on all file systems that matter.
_LONGEST_NAME = 255


@dataclass
class Found:
    """Attributes: `recordings`, in order; `problems`: what could not be looked into, and folders without
    any recording, a sentence each.
    """

    recordings: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Search(Found):
    """What is in one folder at any depth."""

    num_stems: int = 0
    num_others: int = 0


def find_recordings(paths: Sequence[Path]) -> Found:
    """Files as they are named, and of folders what has the extension of a recording.

    Left out are stems that earlier runs wrote, what killed runs left, hidden folders and what systems leave behind.
    """
    found = Found()
    for path in paths:
        if not os.path.isdir(path):  # False, too, for what cannot be looked at: reading it says why
            found.recordings.append(path)
            continue
        search = _Search()
        _look_into(path, search)
        found.recordings += sorted(search.recordings)
        found.problems += search.problems
        if not search.recordings and not search.problems:
            found.problems.append(_nothing_in(path, search))
    return found


def distinct(paths: Sequence[Path]) -> list[Path]:
    """Each file once, though it be named twice, or once by itself and once in its folder."""
    by_place: dict[str, Path] = {}
    for path in paths:
        by_place.setdefault(os.path.abspath(path), path)
    return list(by_place.values())


def check_readable(path: Path) -> None:
    """Looks whether there is a file to read.

    Raises:
        InputError: `no-such-file`, for a device or a pipe, too: they might never end.
        OSError: it cannot be looked at.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = False
    if not is_file:
        raise InputError(f"{path} is not a file", code="no-such-file")


def digest_of(paths: Sequence[Path], asked: str = "None") -> str:
    """Of the recordings' bytes and of what is asked of them, whatever the files are called."""
    digest = hashlib.sha256(asked.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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


def _look_into(top: Path, search: _Search) -> None:
    def complain(error: OSError) -> None:
        search.problems.append(f"{error.filename}: {error.strerror}")

    # Links to folders are not followed: they may lead round in circles.
    for folder, inside, names in os.walk(top, onerror=complain):
        inside[:] = sorted(name for name in inside if not name.startswith(".") and name not in _LITTER_FOLDERS)
        here = Path(folder)
        stems = _stems_in(here, names) if NOTE_NAME in names else set()
        for name in names:
            if name in stems:
                search.num_stems += 1
            elif os.path.splitext(name)[1].lower() in TAKEN and not name.startswith(_APPLE_DOUBLE_PREFIX):
                search.recordings.append(here / name)
            elif name != NOTE_NAME:
                search.num_others += 1


def _nothing_in(folder: Path, search: _Search) -> str:
    counts = [(search.num_stems, "stem of earlier runs", "stems of earlier runs")]
    counts += [(search.num_others, "other file", "other files")]
    held = " and ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)
    return f"there are no recordings in {folder}: it holds {held or 'no files'}"


def _stems_in(folder: Path, names: Sequence[str]) -> set[str]:
    """The files that earlier runs made, by the note beside them; one of another size is somebody else's by now.

    Where the note is damaged, all that is called like a stem.
    """
    try:
        files = json.loads((folder / NOTE_NAME).read_bytes())["files"]
        sizes = {name: _sizes(files, name) for name in names if name in files}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {name for name in names if os.path.splitext(name)[0] in _stem_names()}
    return {name for name, sizes in sizes.items() if not sizes or _size(folder / name) in sizes}


@cache
def _stem_names() -> frozenset[str]:
    """What the models of this machine call their stems; the client alone has no models."""
    try:
        cards = of_this_machine("separation").local_models()
    except (DivisiError, ModuleNotFoundError):
        cards = []
    return RESERVED_STEMS.union(*(card["stems"] for card in cards))


def _sizes(files: object, name: str) -> set[int]:
    """Of a file's versions; none where the note, of version 0.1, has names alone."""
    return {made["bytes"] for made in files[name]} if isinstance(files, dict) else set()


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except OSError:
        return None


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
