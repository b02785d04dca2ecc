"""Folders of recordings: what is in them, and what of it an earlier run has already done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

# What is taken out of a folder; a file that is named is taken whatever it is called.
_EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".m4a", ".aac", ".webm"})
# Codes of refusals that are one recording's own fault: a batch tells them and goes on with the others.
FAULTS_OF_A_RECORDING = frozenset(
    {
        *("not-audio", "unsupported-format", "undecodable", "empty-audio", "non-finite-samples"),
        *("samples-too-large", "would-replace", "would-replace-recording"),
        *("audio-too-long", "audio-too-large", "upload-too-large", "too-many-channels", "invalid-sample-rate"),
    }
)
# Written beside the stems of a recording when all of them are there.
DONE_NAME = ".divisi.json"


def recordings_in(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and of folders all recordings at any depth, in order of their names.

    Stems that an earlier run wrote there are no recordings.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.rglob("*"))
            found += [
                one for one in inside if one.is_file() and one.suffix.lower() in _EXTENSIONS and not _is_stem(one)
            ]
        else:
            found.append(path)
    return found


def digest_of(paths: Sequence[Path], request: object) -> str:
    """Of the recordings' bytes and of what is asked of them, whatever the files are called."""
    digest = hashlib.sha256(repr(request).encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def is_done(folder: Path, digest: str) -> bool:
    """True when the folder holds all that a finished run of the same digest wrote."""
    try:
        note = json.loads((folder / DONE_NAME).read_text())
        return bool(note["digest"] == digest) and all((folder / name).is_file() for name in note["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_stem(path: Path) -> bool:
    try:
        return path.name in json.loads((path.parent / DONE_NAME).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark_done(folder: Path, digest: str, recordings: Sequence[Path]) -> None:
    """Says so beside the stems; recordings that lie in the same folder are none."""
    others = {path.resolve() for path in recordings}
    written = [path for path in folder.iterdir() if path.is_file() and path.resolve() not in others]
    files = sorted(path.name for path in written if path.name != DONE_NAME)
    (folder / DONE_NAME).write_text(json.dumps({"digest": digest, "files": files}))
