"""What is separated: the files that are named, and in folders all recordings at any depth."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from divisi.cli.out_folder import NOTE_NAME
from divisi.cli.terminal import settings_with
from divisi.contract.card import RESERVED_STEMS
from divisi.contract.errors import DivisiError, InputError

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
_TAKEN = frozenset(extension for extensions in EXTENSIONS.values() for extension in extensions)


@dataclass
class Found:
    """Attributes: `recordings`, in order; `problems`: what could not be looked into, and folders without
    any recording, a sentence each.
    """

    recordings: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Search:
    """What is in one folder at any depth."""

    recordings: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
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
            elif os.path.splitext(name)[1].lower() in _TAKEN and not name.startswith(_APPLE_DOUBLE_PREFIX):
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
    """What the models of this machine call their stems."""
    from divisi.bundles.store import BundleStore

    try:
        cards = BundleStore(settings_with().model_store).list()
    except DivisiError:
        cards = []
    return RESERVED_STEMS.union(*(card.stems for card in cards))


def _sizes(files: object, name: str) -> set[int]:
    """Of a file's versions; none where the note, of version 0.1, has names alone."""
    return {made["bytes"] for made in files[name]} if isinstance(files, dict) else set()


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except OSError:
        return None
