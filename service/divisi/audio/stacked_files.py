"""One recording in several mono files, a microphone each: decoded side by side as one recording of many channels.

On disk they are a folder of files in order; at rest in the store they are one tar file, packed as they came.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError

if TYPE_CHECKING:
    from divisi.audio.decode import AudioDecoder

CONTAINER = "files"
"""Said of such a recording in `AudioFacts`."""

_BLOCK_LENGTH = 1 << 16


def file_name(place: int) -> str:
    """Name, in the folder, of the file at `place`, counted from 0."""
    return f"{place:03d}"


def pack(folder: Path, path: Path) -> None:
    """Writes the files of a folder into one file at `path`, in order, without names or dates of their own."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for part in _parts(folder):
            entry = tarfile.TarInfo(part.name)
            entry.size = part.stat().st_size
            with part.open("rb") as file:
                archive.addfile(entry, file)


def unpack(path: Path, folder: Path) -> None:
    """Writes what `pack` packed into a new folder.

    Raises:
        InputError: code `undecodable`.
    """
    folder.mkdir()
    try:
        with tarfile.open(path, "r:") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"the recording's files cannot be unpacked: {error}", code="undecodable") from error


@contextmanager
def as_one_recording(paths: Sequence[Path]) -> Iterator[Path]:
    """One file as it is, or a folder that shows several in order."""
    if len(paths) == 1:
        yield paths[0]
        return
    with TemporaryDirectory(prefix="divisi-files-") as folder:
        for place, path in enumerate(paths):
            (Path(folder) / file_name(place)).symlink_to(path.absolute())
        yield Path(folder)


def open_parts(folder: Path) -> list[Path]:
    """The files of a folder, in order.

    Raises:
        InputError: code `empty-audio`: there is none.
    """
    parts = _parts(folder)
    if not parts:
        raise InputError("the recording has no files", code="empty-audio")
    return parts


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


class StackedSource:
    """A BlockSource over one decoder for each file.

    Args:
        decoders: in the order of the channels.

    Raises:
        InputError: `files-do-not-match`: a file is not mono, or has another rate than the first; while reading: another
            length. Facts hold both values.
    """

    promised_samples: int | None = None  # each decoder holds its own file to its own promise

    def __init__(self, decoders: Sequence[AudioDecoder]) -> None:
        self._decoders = decoders
        first = decoders[0].facts
        for place, decoder in enumerate(decoders):
            facts = decoder.facts
            if facts.num_channels != 1:
                message = f"file {place + 1} has {facts.num_channels} channels; several files must have one each"
                _refuse(message, place, num_channels=facts.num_channels, expected_num_channels=1)
            if facts.sample_rate != first.sample_rate:
                message = f"file {place + 1} has {facts.sample_rate} Hz, file 1 has {first.sample_rate} Hz"
                _refuse(message, place, sample_rate=facts.sample_rate, expected_sample_rate=first.sample_rate)
        self.facts = replace(first, container=CONTAINER, num_channels=len(decoders))
        self._blocks = [decoder.blocks(_BLOCK_LENGTH) for decoder in decoders]
        self._waiting: Samples = np.zeros((len(decoders), 0), np.float32)

    def read(self, num_samples: int) -> Samples:
        if not self._waiting.shape[1]:
            self._waiting = self._next_block()
        block, self._waiting = self._waiting[:, :num_samples], self._waiting[:, num_samples:]
        return block

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.close()

    def _next_block(self) -> Samples:
        blocks = [next(blocks, np.zeros((1, 0), np.float32)) for blocks in self._blocks]
        if len({block.shape[1] for block in blocks}) > 1:
            self._tell_lengths()
        return np.concatenate(blocks)

    def _tell_lengths(self) -> NoReturn:
        """Decodes all to the end: the caller is told by how much they differ."""
        for blocks in self._blocks:
            _exhaust(blocks)
        lengths = [decoder.num_decoded for decoder in self._decoders]
        place = next(place for place, length in enumerate(lengths) if length != lengths[0])
        message = f"file {place + 1} lasts {lengths[place]} samples, file 1 lasts {lengths[0]}"
        _refuse(message, place, num_samples=lengths[place], expected_num_samples=lengths[0])


def _exhaust(blocks: Iterator[Samples]) -> None:
    for _ in blocks:
        pass


def _refuse(message: str, place: int, **values: int) -> NoReturn:
    raise InputError(f"the files do not match: {message}", code="files-do-not-match", file=place + 1, **values)
