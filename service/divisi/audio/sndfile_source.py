"""Decodes wav, rf64, aiff, caf, flac, ogg (Vorbis, Opus) and mp3 with libsndfile, read forward only.

Each container is opened in the way in which libsndfile tells all of it: see `_open_…` and the modules they lean on.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from divisi.audio.block_source import CodecNotSupportedError
from divisi.audio.channel_order import wav_from_vorbis_order
from divisi.audio.chunks import read_chunked_header
from divisi.audio.facts import AudioFacts, check_sample_rate
from divisi.audio.flac_header import read_flac_header
from divisi.audio.mpeg_frames import read_mpeg_stream
from divisi.audio.ogg_pages import read_ogg_structure
from divisi.audio.patched_file import PatchedFile
from divisi.audio.sniff import Sniffed
from divisi.audio.waveform import Samples
from divisi.errors import InputError

# libsndfile's word for "unknown", SF_COUNT_MAX.
_UNKNOWN_LENGTH = 0x7FFF_FFFF_FFFF_FFFF
# SF_ERR_UNSUPPORTED_ENCODING, and what its WAV reader says to a format tag that it does not know.
_UNSUPPORTED_CODEC_ERRORS = frozenset({4, 64})
_OGG_CODECS = (b"\x01vorbis", b"OpusHead")
# What a pipe of Linux holds.
_PIPE_BYTES = 65_536
_FLAC_WORD_LENGTHS = frozenset({8, 16, 24})


class _ForwardOnly(soundfile.SoundFile):
    """A SoundFile that does not seek. soundfile seeks after every read: slow in FLAC, inexact in others, and not needed
    here.
    """

    def seekable(self) -> bool:
        return False


@dataclass
class _Opened:
    """An open file. promised_samples as in BlockSource; expected_samples: the best guess at the length; on_close: what
    else to free.
    """

    file: soundfile.SoundFile
    promised_samples: int | None
    expected_samples: int | None
    on_close: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Closes the file first: it reads from the others."""
        self.file.close()
        while self.on_close:
            self.on_close.pop()()


class SndfileSource:
    """A BlockSource over libsndfile. Raises InputError, or CodecNotSupportedError for a codec unknown to it."""

    def __init__(self, path: Path, sniffed: Sniffed) -> None:
        self._opened = _OPENERS[sniffed.container](path, sniffed)
        file = self._opened.file
        self.promised_samples = self._opened.promised_samples
        try:
            check_sample_rate(file.samplerate)
        except InputError:
            self.close()
            raise
        self.facts = AudioFacts(
            container=sniffed.container,
            codec=file.subtype.lower(),
            sample_rate=file.samplerate,
            num_channels=file.channels,
            num_samples=self._opened.expected_samples or 0,
            exact=False,
        )
        self._channel_order = wav_from_vorbis_order(file.channels) if sniffed.container == "ogg" else None
        self._taken = 0

    def read(self, num_samples: int) -> Samples:
        # Reading across the promised end could meet what stands behind it (tags) and lose the block in an error.
        left = None if self.promised_samples is None else self.promised_samples - self._taken
        if left is not None and 0 < left < num_samples:
            num_samples = left
        try:
            block = self._opened.file.read(num_samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if left == 0:
                return np.zeros((self.facts.num_channels, 0), np.float32)
            seconds = self._taken / self.facts.sample_rate
            raise InputError(
                f"the file is damaged or truncated after {seconds:.1f} s: {error.error_string}", code="undecodable"
            ) from error
        self._taken += len(block)
        samples = np.ascontiguousarray(block.T)
        return samples if self._channel_order is None else samples[self._channel_order]

    def close(self) -> None:
        self._opened.close()


def _open(source: PatchedFile | int) -> soundfile.SoundFile:
    try:
        return _ForwardOnly(source)
    except soundfile.LibsndfileError as error:
        if error.code in _UNSUPPORTED_CODEC_ERRORS:
            raise CodecNotSupportedError(error.error_string) from error
        raise InputError(f"the file cannot be decoded: {error.error_string}", code="undecodable") from error


def _open_patched(path: Path, patches: dict[int, bytes]) -> _Opened:
    """Opens a file through its patches. soundfile never sees the name: it takes only UTF-8, and believes in `.raw`."""
    patched = PatchedFile(path, patches)
    try:
        file = _open(patched)
    except BaseException:
        patched.close()
        raise
    return _Opened(file, file.frames, file.frames, [patched.close])


def _open_chunked(path: Path, sniffed: Sniffed) -> _Opened:
    header = read_chunked_header(path, sniffed.container)
    if header.sample_rate is not None:
        check_sample_rate(header.sample_rate)
    opened = _open_patched(path, header.patches)
    if opened.file.subtype.startswith("MPEG"):
        opened.close()
        raise CodecNotSupportedError("MPEG audio in WAV")  # libsndfile would lose the end of it
    return opened


def _open_flac(path: Path, sniffed: Sniffed) -> _Opened:
    header = read_flac_header(path, sniffed.start)
    check_sample_rate(header.sample_rate)
    if header.bits not in _FLAC_WORD_LENGTHS:
        raise CodecNotSupportedError(f"FLAC of {header.bits} bits")
    opened = _open_patched(path, header.patches)
    opened.promised_samples = opened.expected_samples = header.num_samples
    return opened


def _open_ogg(path: Path, sniffed: Sniffed) -> _Opened:
    structure = read_ogg_structure(path)
    if structure.is_torn:
        raise InputError("the file is truncated or damaged: its last Ogg page is not whole", code="undecodable")
    if structure.num_links > 1:
        raise InputError(
            f"the file holds {structure.num_links} Ogg streams one after the other; split it, or convert it to FLAC",
            code="unsupported-format",
        )
    if not structure.first_packet.startswith(_OGG_CODECS):
        raise CodecNotSupportedError("not Vorbis or Opus")
    return _open_patched(path, {})


def _open_mp3(path: Path, sniffed: Sniffed) -> _Opened:
    """Feeds libsndfile the audio frames through a pipe: from a file it would trust an extrapolated length and stop
    there.
    """
    stream = read_mpeg_stream(path, sniffed.start)
    if stream is None:
        raise InputError("the file holds no MPEG audio frames", code="undecodable")
    promised = stream.promised_frames
    if promised is not None and promised > stream.num_frames + 1:  # some writers count the tag's own frame
        raise InputError(
            f"the file is truncated: its header promises {promised} frames, {stream.num_frames} are there",
            code="undecodable",
        )
    # A tag that promises less than there is belongs to the first of several files put together: without it, all is
    # decoded.
    is_tag_true = promised is not None and promised >= stream.num_frames
    begin = stream.start if is_tag_true else stream.audio_start
    read_end = _feed(path, begin, stream.end)
    file = _open(read_end)
    if is_tag_true and file.frames != _UNKNOWN_LENGTH:
        return _Opened(file, file.frames, file.frames)
    return _Opened(file, None, stream.num_frames * stream.header.samples)


def _feed(path: Path, begin: int, end: int) -> int:
    """A file descriptor to read bytes `begin … end` of a file from, as from a pipe; its reader closes it."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        # Closing the pipe may fail like writing to it: the reader is free to go before the end.
        with (
            contextlib.suppress(BrokenPipeError),
            os.fdopen(write_end, "wb", buffering=0) as pipe,
            path.open("rb") as file,
        ):
            file.seek(begin)
            while left := end - file.tell():
                pipe.write(file.read(min(left, _PIPE_BYTES)))

    threading.Thread(target=feed, name="mp3-feed", daemon=True).start()
    return read_end


_OPENERS: dict[str, Callable[[Path, Sniffed], _Opened]] = {
    "wav": _open_chunked,
    "rf64": _open_chunked,
    "aiff": _open_chunked,
    "caf": _open_chunked,
    "flac": _open_flac,
    "ogg": _open_ogg,
    "mp3": _open_mp3,
}

SNDFILE_CONTAINERS = frozenset(_OPENERS)
