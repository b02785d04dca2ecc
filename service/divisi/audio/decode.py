"""A recording as a stream of blocks: `open_decoder`, the second step of *upload → job → worker → engine → stems*.

Memory stays flat. What the header promised is held against what was decoded, and every sample is looked at: damage,
missing audio and samples that no recording has are errors here, so that nothing downstream meets them.

A recording may come as several mono files, a microphone each: on disk a folder of them in order, at rest in the store
one tar file, packed as they came.
"""

from __future__ import annotations

import importlib
import importlib.util
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from divisi.audio.recording import AudioFacts, AudioLimits, Samples, check_decoded_bytes, check_limits, too_long
from divisi.audio.sndfile_source import SNDFILE_CONTAINERS, open_with_sndfile
from divisi.audio.sniff import Sniffed, sniff
from divisi.audio.source import BlockSource, CodecNotSupportedError, Piece, check_promise, undecodable
from divisi.contract.errors import InputError

FILES_CONTAINER = "files"
"""The container, in `AudioFacts`, of a recording in several files."""

# By name, because PyAV is an extra and 100 MB: only a file that needs it loads it.
_AV_SOURCE = ("divisi.audio.av_source", "AvSource")
# Full scale is 1. Integers stored as floats are below this, 32 bits included; powers of what is above overflow.
LOUDEST = 1e10
_BLOCK_LENGTH = 1 << 16


def open_decoder(path: Path, limits: AudioLimits | None = None) -> AudioDecoder:
    """Opens a recording of any supported format.

    Args:
        path: the file, whose name means nothing; or a folder of mono files, one for each channel.
        limits: held against the header here and against the samples while decoding; None: anything goes.

    Raises:
        InputError: `not-audio`, `unsupported-format`, `undecodable`, `empty-audio`, `invalid-sample-rate`; with limits
            `too-many-channels`, `audio-too-long`, `audio-too-large`; for a folder `files-do-not-match`.
    """
    source = _open_folder(path, limits) if path.is_dir() else _open_file(path)
    try:
        if limits is not None:
            check_limits(source.facts, limits)
    except InputError:
        source.close()
        raise
    return AudioDecoder(source, limits)


def _open_file(path: Path) -> BlockSource:
    sniffed = sniff(path)
    if sniffed.container in SNDFILE_CONTAINERS:
        try:
            return open_with_sndfile(path, sniffed)
        except CodecNotSupportedError as error:
            return _open_av_source(path, sniffed, f"{sniffed.container} ({error})", error.pieces)
    return _open_av_source(path, sniffed, sniffed.container, (sniffed.sound,))


def _open_av_source(path: Path, sniffed: Sniffed, codec: str, pieces: Sequence[Piece]) -> BlockSource:
    if importlib.util.find_spec("av") is None:
        raise InputError(
            f"reading {codec} needs the `av` extra, which is not installed here (pip install 'divisi-choir[av]'); "
            "wav, flac, ogg, mp3, aiff and caf need nothing",
            code="unsupported-format",
            container=sniffed.container,
        )
    module, name = _AV_SOURCE
    source: BlockSource = getattr(importlib.import_module(module), name)(path, sniffed.container, pieces)
    return source


class AudioDecoder:
    """One recording being decoded; a context manager. See `open_decoder`.

    Attributes:
        facts: what the header says.
        num_decoded: samples given out so far.
    """

    def __init__(self, source: BlockSource, limits: AudioLimits | None) -> None:
        self._source = source
        self._limits = limits
        self.facts: AudioFacts = source.facts
        self.num_decoded = 0

    def blocks(self, block_length: int) -> Iterator[Samples]:
        """All of the recording, once.

        Args:
            block_length: samples of each block; the last one may be shorter.

        Yields:
            float32 `(C, n)`, n ≥ 1, in WAV channel order.

        Raises:
            InputError: `undecodable`, `non-finite-samples`, `samples-too-large`, `audio-too-long` and `audio-too-large`
                (with limits), `empty-audio` (at the end).
        """
        pending: list[Samples] = []
        num_pending = 0
        while True:
            block = self._source.read(block_length - num_pending)
            if block.shape[1]:
                self._check_block(block)
                pending.append(block)
                num_pending += block.shape[1]
            if num_pending and (num_pending == block_length or not block.shape[1]):
                yield pending[0] if len(pending) == 1 else np.concatenate(pending, axis=1)
                pending, num_pending = [], 0
            if not block.shape[1]:
                self._check_end()
                return

    def close(self) -> None:
        """Frees the decoder."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_block(self, block: Samples) -> None:
        # NaN is neither, and comes through both.
        if not (block.max() <= LOUDEST and block.min() >= -LOUDEST):
            raise self._no_audio(block)
        self.num_decoded += block.shape[1]
        if self._limits and self.num_decoded > self._limits.max_duration_seconds * self.facts.sample_rate:
            raise too_long(f"goes on after {self._limits.max_duration_seconds:.0f} s", self._limits)
        if self._limits:
            check_decoded_bytes(self.num_decoded, self.facts.num_channels, self._limits)

    def _no_audio(self, block: Samples) -> InputError:
        """The error for the first sample of a block that is none."""
        is_audio = np.abs(block) <= LOUDEST
        first = int(np.argmin(is_audio.all(axis=0)))
        channel = int(np.argmin(is_audio[:, first]))
        value = block[channel, first]
        seconds = (self.num_decoded + first) / self.facts.sample_rate
        reason = f"larger than {LOUDEST:g} (full scale is 1)" if np.isfinite(value) else "no number"
        return InputError(
            f"the sample at {seconds:.3f} s in channel {channel + 1} is {value}, {reason}: this is no audio",
            code="samples-too-large" if np.isfinite(value) else "non-finite-samples",
            first_seconds=seconds,
            channel=channel + 1,
        )

    def _check_end(self) -> None:
        check_promise(self._source.promised_samples, self.num_decoded)
        if self.num_decoded == 0:
            raise InputError("the file holds no samples", code="empty-audio")


def channel_file_name(place: int) -> str:
    """Name, in the folder of a recording in several files, of the one at `place`, counted from 0."""
    return f"{place:03d}"


@contextmanager
def as_one_recording(paths: Sequence[Path]) -> Iterator[Path]:
    """One file as it is, or a folder that shows several in order."""
    if len(paths) == 1:
        yield paths[0]
        return
    with TemporaryDirectory(prefix="divisi-files-") as folder:
        for place, path in enumerate(paths):
            (Path(folder) / channel_file_name(place)).symlink_to(path.absolute())
        yield Path(folder)


def pack_files(folder: Path, path: Path) -> None:
    """Writes the files of a folder into one file at `path`, in order, without names or dates of their own."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for part in _files_of(folder):
            entry = tarfile.TarInfo(part.name)
            entry.size = part.stat().st_size
            with part.open("rb") as file:
                archive.addfile(entry, file)


def unpack_files(path: Path, folder: Path) -> None:
    """Writes what `pack_files` packed into a new folder. Raises InputError `undecodable`."""
    folder.mkdir()
    try:
        with tarfile.open(path, "r:") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise undecodable(f"the recording's files cannot be unpacked: {error}") from error


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _open_folder(folder: Path, limits: AudioLimits | None) -> BlockSource:
    with ExitStack() as opened:
        decoders = [opened.enter_context(AudioDecoder(_open_file(path), limits)) for path in _files_of(folder)]
        if not decoders:
            raise InputError("the recording has no files", code="empty-audio")
        source = _StackedSource(decoders)
        opened.pop_all()
    return source


class _StackedSource:
    """A BlockSource over one decoder for each file, side by side.

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
                raise _mismatch(message, place, num_channels=facts.num_channels, expected_num_channels=1)
            if facts.sample_rate != first.sample_rate:
                message = f"file {place + 1} has {facts.sample_rate} Hz, file 1 has {first.sample_rate} Hz"
                raise _mismatch(message, place, sample_rate=facts.sample_rate, expected_sample_rate=first.sample_rate)
        self.facts = replace(first, container=FILES_CONTAINER, num_channels=len(decoders))
        self._blocks = [decoder.blocks(_BLOCK_LENGTH) for decoder in decoders]
        self._waiting: Samples = np.zeros((len(decoders), 0), np.float32)

    def read(self, num_samples: int) -> Samples:
        if not self._waiting.shape[1]:
            blocks = [next(blocks, np.zeros((1, 0), np.float32)) for blocks in self._blocks]
            if len({block.shape[1] for block in blocks}) > 1:
                raise self._other_length()
            self._waiting = np.concatenate(blocks)
        block, self._waiting = self._waiting[:, :num_samples], self._waiting[:, num_samples:]
        return block

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.close()

    def _other_length(self) -> InputError:
        """Decodes all to the end, to say by how much they differ."""
        for _ in chain(*self._blocks):
            pass
        lengths = [decoder.num_decoded for decoder in self._decoders]
        place = next(place for place, length in enumerate(lengths) if length != lengths[0])
        message = f"file {place + 1} lasts {lengths[place]} samples, file 1 lasts {lengths[0]}"
        return _mismatch(message, place, num_samples=lengths[place], expected_num_samples=lengths[0])


def _mismatch(message: str, place: int, **values: int) -> InputError:
    return InputError(f"the files do not match: {message}", code="files-do-not-match", file=place + 1, **values)
