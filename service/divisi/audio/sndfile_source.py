"""Decodes wav, rf64, aiff, caf, flac, ogg (Vorbis, Opus, FLAC) and mp3 with libsndfile, read forward only.

libsndfile is shown a plain file of the sound alone: see `_find_…` and the modules they lean on.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from divisi.audio.chunks import read_aiff, read_caf, read_riff
from divisi.audio.flac import count_samples, find_flac_streams, read_flac_header
from divisi.audio.frames import read_mpeg_stream
from divisi.audio.ogg import OggStream, as_last_page, read_ogg_links, read_opus_head, with_checksum
from divisi.audio.recording import AudioFacts, Samples, check_sample_rate, wav_from_vorbis_order
from divisi.audio.sniff import Sniffed
from divisi.audio.source import BlockSource, ChainedSource, CodecNotSupportedError, Piece, SplicedFile, joined, part_of
from divisi.contract.errors import InputError

# libsndfile's word for "unknown", SF_COUNT_MAX.
_UNKNOWN_LENGTH = 0x7FFF_FFFF_FFFF_FFFF
# SF_ERR_UNSUPPORTED_ENCODING, and what its WAV reader says to a format tag that it does not know.
_UNSUPPORTED_CODEC_ERRORS = frozenset({4, 64})
_VORBIS = b"\x01vorbis"
_OPUS = b"OpusHead"
_FLAC_IN_OGG = b"\x7fFLAC"
# In front of `fLaC` in the first packet: this mark, version, number of headers.
_FLAC_IN_OGG_MARK_BYTES = 9
# What a pipe of Linux holds.
_PIPE_BYTES = 65_536
_FLAC_WORD_LENGTHS = frozenset({8, 16, 24})


class _ForwardOnly(soundfile.SoundFile):
    """A SoundFile that does not seek. soundfile seeks after every read: slow in FLAC, inexact in others, and not needed
    here.
    """

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class _Sound:
    """One stream in a file.

    Attributes:
        pieces: what libsndfile is shown, as in SplicedFile.
        num_samples: promised by the header; None: not said, or not to be relied on.
        is_decoder_right: libsndfile's word on the length is a promise, too.
        expected_samples: the best guess at the length where nothing is promised.
        is_piped: libsndfile shall not seek.
        skip: samples in front that an encoder made up; the decoder's word on the length counts them.
    """

    pieces: tuple[Piece, ...]
    num_samples: int | None = None
    is_decoder_right: bool = False
    expected_samples: int = 0
    is_piped: bool = False
    skip: int = 0


def open_with_sndfile(path: Path, sniffed: Sniffed) -> BlockSource:
    """Opens a recording in one of SNDFILE_CONTAINERS. Raises InputError, or CodecNotSupportedError for a codec unknown
    to libsndfile.
    """
    sounds = _FINDERS[sniffed.container](path, sniffed)
    links = [partial(SndfileSource, path, sniffed.container, sound) for sound in sounds]
    return links[0]() if len(links) == 1 else ChainedSource(links)


class SndfileSource:
    """A BlockSource over libsndfile."""

    def __init__(self, path: Path, container: str, sound: _Sound) -> None:
        self._source = None if sound.is_piped else SplicedFile(path, sound.pieces)
        try:
            self._file = file = _open(self._source or _feed(path, sound.pieces), sound.pieces)
            check_sample_rate(file.samplerate)
        except BaseException:
            self.close()
            raise
        length = file.frames - sound.skip if sound.is_decoder_right and file.frames != _UNKNOWN_LENGTH else None
        self.promised_samples = sound.num_samples if length is None else max(0, length)
        self._skip = sound.skip
        self.facts = AudioFacts(
            container=container,
            codec=file.subtype.lower(),
            sample_rate=file.samplerate,
            num_channels=file.channels,
            num_samples=self.promised_samples or sound.expected_samples,
            exact=False,
        )
        self._channel_order = wav_from_vorbis_order(file.channels) if file.format == "OGG" else None
        self._taken = 0

    def read(self, num_samples: int) -> Samples:
        # Reading across the promised end could meet what stands behind it (tags) and lose the block in an error.
        left = None if self.promised_samples is None else self.promised_samples - self._taken
        if left is not None and 0 < left < num_samples:
            num_samples = left
        try:
            if self._skip:
                self._file.read(self._skip, dtype="float32")
                self._skip = 0
            block = self._file.read(num_samples, dtype="float32", always_2d=True)
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
        """Closes libsndfile's side first: it reads from the other."""
        if hasattr(self, "_file"):
            self._file.close()
        if self._source is not None:
            self._source.close()


def _open(source: SplicedFile | int, pieces: Sequence[Piece]) -> soundfile.SoundFile:
    """soundfile never sees the name: it takes only UTF-8, and believes in `.raw`."""
    try:
        return _ForwardOnly(source)
    except soundfile.LibsndfileError as error:
        if error.code in _UNSUPPORTED_CODEC_ERRORS:
            raise CodecNotSupportedError(error.error_string, pieces) from error
        raise InputError(f"the file cannot be decoded: {error.error_string}", code="undecodable") from error


def _find_in_chunks(path: Path, sniffed: Sniffed) -> list[_Sound]:
    read = {"aiff": read_aiff, "caf": read_caf}.get(sniffed.container, read_riff)
    with path.open("rb") as file:
        found = read(file, sniffed.sound.start, sniffed.sound.stop)
    check_sample_rate(found.sample_rate)
    if found.is_mpeg:
        return [_mpeg_sound(path, found.data)]
    return [_Sound(found.pieces, is_decoder_right=True)]


def _find_in_flac(path: Path, sniffed: Sniffed) -> list[_Sound]:
    return _flac_sounds(path, (sniffed.sound,))


def _flac_sounds(path: Path, pieces: Sequence[Piece]) -> list[_Sound]:
    sounds = []
    with SplicedFile(path, pieces) as file:
        starts = find_flac_streams(file)
        for start, stop in zip(starts, [*starts[1:], sum(map(len, pieces))], strict=True):
            header = read_flac_header(file, start)
            check_sample_rate(header.sample_rate)
            if header.bits not in _FLAC_WORD_LENGTHS:
                raise CodecNotSupportedError(f"FLAC of {header.bits} bits", part_of(pieces, start, stop))
            behind = header.fields_at + len(header.fields)
            shown = (*part_of(pieces, start, header.fields_at), header.fields, *part_of(pieces, behind, stop))
            sounds.append(_Sound(shown, header.num_samples or count_samples(file, start, stop)))
    return sounds


def _find_in_ogg(path: Path, sniffed: Sniffed) -> list[_Sound]:
    whole = (sniffed.sound,)
    with SplicedFile(path, whole) as file:
        links = read_ogg_links(file)
    sounds = []
    for streams in links:
        stream = next((s for s in streams if s.codec.startswith((_VORBIS, _OPUS, _FLAC_IN_OGG))), None)
        if stream is None:
            raise CodecNotSupportedError("neither Vorbis nor Opus nor FLAC", whole)
        sounds += _ogg_sounds(path, sniffed.sound, stream)
    return sounds


def _ogg_sounds(path: Path, whole: range, stream: OggStream) -> list[_Sound]:
    """The sound of one stream in Ogg pages. Packets of FLAC, put together, are a FLAC file."""
    if stream.codec.startswith(_FLAC_IN_OGG):
        contents = [whole[place.start : place.stop] for place in joined(stream.contents)]
        return _flac_sounds(path, part_of(contents, _FLAC_IN_OGG_MARK_BYTES, sum(map(len, contents))))
    pieces: list[Piece] = [whole[place.start : place.stop] for place in joined(stream.pages)]
    with SplicedFile(path, pieces) as file:
        length = sum(map(len, pieces))
        if not stream.is_ended:
            last_at = length - len(stream.pages[-1])
            file.seek(last_at)
            pieces = [*part_of(pieces, 0, last_at), as_last_page(file.read(length - last_at))]
        if not stream.codec.startswith(_OPUS):
            return [_Sound(tuple(pieces), is_decoder_right=True)]
        page_bytes, packet_bytes = len(stream.pages[0]), len(stream.contents[0])
        file.seek(0)
        page_head = file.read(page_bytes - packet_bytes)
        opus = read_opus_head(file.read(packet_bytes))
    shown = with_checksum(bytearray(page_head + opus.shown))
    return [_Sound((shown, *part_of(pieces, page_bytes, length)), is_decoder_right=True, skip=opus.skip)]


def _find_in_mp3(path: Path, sniffed: Sniffed) -> list[_Sound]:
    return [_mpeg_sound(path, (sniffed.sound,))]


def _mpeg_sound(path: Path, pieces: Sequence[Piece]) -> _Sound:
    """Fed to libsndfile through a pipe: from a file it would trust an extrapolated length and stop there. Frames of the
    free format need a file, in which it measures them.
    """
    with SplicedFile(path, pieces) as file:
        stream = read_mpeg_stream(file)
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
    return _Sound(
        part_of(pieces, begin, stream.end),
        is_decoder_right=is_tag_true,
        expected_samples=stream.num_frames * stream.header.samples,
        is_piped=not stream.is_free_format,
    )


def _feed(path: Path, pieces: Sequence[Piece]) -> int:
    """A file descriptor to read a file from, as from a pipe; its reader closes it."""
    read_end, write_end = os.pipe()

    def feed() -> None:
        # Closing the pipe may fail like writing to it: the reader is free to go before the end.
        with (
            contextlib.suppress(BrokenPipeError),
            os.fdopen(write_end, "wb", buffering=0) as pipe,
            SplicedFile(path, pieces) as file,
        ):
            while stretch := file.read(_PIPE_BYTES):
                pipe.write(stretch)

    threading.Thread(target=feed, name="mp3-feed", daemon=True).start()
    return read_end


_FINDERS: dict[str, Callable[[Path, Sniffed], list[_Sound]]] = {
    "wav": _find_in_chunks,
    "rf64": _find_in_chunks,
    "aiff": _find_in_chunks,
    "caf": _find_in_chunks,
    "flac": _find_in_flac,
    "ogg": _find_in_ogg,
    "mp3": _find_in_mp3,
}

SNDFILE_CONTAINERS = frozenset(_FINDERS)
