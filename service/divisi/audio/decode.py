"""A recording as a stream of blocks: `open_decoder`, the second step of *upload → job → worker → engine → stems*.

Memory stays flat. What the header promised is held against what was decoded, and every sample is looked at: damage,
missing audio and samples that no recording has are errors here, so that nothing downstream meets them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from divisi.audio.block_source import BlockSource, CodecNotSupportedError, check_promise
from divisi.audio.facts import AudioFacts, AudioLimits, check_decoded_bytes, check_limits, too_long
from divisi.audio.sndfile_source import SNDFILE_CONTAINERS, open_with_sndfile
from divisi.audio.sniff import Sniffed, sniff
from divisi.audio.spliced_file import Piece
from divisi.audio.stacked_files import StackedSource, open_parts
from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError

# By name, because PyAV is an extra and 100 MB: only a file that needs it loads it.
_AV_SOURCE = ("divisi.audio.av_source", "AvSource")
# Full scale is 1. Integers stored as floats are below this, 32 bits included; powers of what is above overflow.
LOUDEST = 1e10


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


def open_decoder(path: Path, limits: AudioLimits | None = None) -> AudioDecoder:
    """Opens a recording of any supported format.

    Args:
        path: the file, whose name means nothing; or a folder of mono files, one for each channel, see `stacked_files`.
        limits: held against the header here and against the samples while decoding; None: anything goes.

    Raises:
        InputError: `not-audio`, `unsupported-format`, `undecodable`, `empty-audio`, `invalid-sample-rate`, and with
            limits
            `too-many-channels`, `audio-too-long`; for a folder `files-do-not-match`.
    """
    source = _open_stack(path, limits) if path.is_dir() else _open_source(path, sniff(path))
    try:
        if limits is not None:
            check_limits(source.facts, limits)
    except InputError:
        source.close()
        raise
    return AudioDecoder(source, limits)


def _open_stack(folder: Path, limits: AudioLimits | None) -> BlockSource:
    decoders: list[AudioDecoder] = []
    try:
        for path in open_parts(folder):
            decoders.append(AudioDecoder(_open_source(path, sniff(path)), limits))
        return StackedSource(decoders)
    except InputError:
        for decoder in decoders:
            decoder.close()
        raise


def _open_source(path: Path, sniffed: Sniffed) -> BlockSource:
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
