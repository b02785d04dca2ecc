"""Decodes wav, rf64, aiff, caf, flac, ogg (Vorbis, Opus, FLAC) and mp3 with libsndfile, read forward only.

libsndfile is shown a plain file of the sound alone; what that is, `_find_sounds` finds with the modules of the formats.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from divisi.audio.chunks import read_aiff, read_caf, read_riff
from divisi.audio.frames import read_mpeg_stream
from divisi.audio.recording import AudioFacts, Samples, check_sample_rate, wav_from_vorbis_order
from divisi.audio.sniff import Sniffed
from divisi.audio.source import (
    BlockSource,
    ChainedSource,
    CodecNotSupportedError,
    Piece,
    SplicedFile,
    bytes_at,
    joined,
    open_spliced,
    part_of,
    undecodable,
)
from divisi.audio.xiph import (
    OggStream,
    as_last_page,
    count_samples,
    find_flac_streams,
    read_flac_header,
    read_ogg_links,
    read_opus_head,
    with_checksum,
)

SNDFILE_CONTAINERS = frozenset({"wav", "rf64", "aiff", "caf", "flac", "ogg", "mp3"})

# libsndfile's word for "unknown", SF_COUNT_MAX.
_UNKNOWN_LENGTH = 0x7FFF_FFFF_FFFF_FFFF
# SF_ERR_UNSUPPORTED_ENCODING, and what its WAV reader says to a format tag that it does not know.
_UNSUPPORTED_CODEC_ERRORS = frozenset({4, 64})
_FLAC_WORD_LENGTHS = frozenset({8, 16, 24})
_VORBIS, _OPUS, _FLAC_IN_OGG = b"\x01vorbis", b"OpusHead", b"\x7fFLAC"
# In front of `fLaC` in the first packet: this mark, version, number of headers.
_FLAC_IN_OGG_MARK_BYTES = 9
# What a pipe of Linux holds.
_PIPE_BYTES = 65_536


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
    links = [partial(SndfileSource, path, sniffed.container, sound) for sound in _find_sounds(path, sniffed)]
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
            raise undecodable(
                f"the file is damaged or truncated after {seconds:.1f} s: {error.error_string}"
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
        raise undecodable(f"the file cannot be decoded: {error.error_string}") from error


def _find_sounds(path: Path, sniffed: Sniffed) -> list[_Sound]:
    """The streams of a file, one after the other; most files are one."""
    if sniffed.container == "flac":
        return _flac_sounds(path, (sniffed.sound,))
    if sniffed.container == "mp3":
        return [_mpeg_sound(path, (sniffed.sound,))]
    if sniffed.container == "ogg":
        return _sounds_in_ogg(path, sniffed.sound)
    read = {"aiff": read_aiff, "caf": read_caf}.get(sniffed.container, read_riff)
    with path.open("rb") as file:
        found = read(file, sniffed.sound.start, sniffed.sound.stop)
    check_sample_rate(found.sample_rate)
    return [_mpeg_sound(path, found.data) if found.is_mpeg else _Sound(found.pieces, is_decoder_right=True)]


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


def _sounds_in_ogg(path: Path, whole: range) -> list[_Sound]:
    with SplicedFile(path, (whole,)) as file:
        links = read_ogg_links(file)
    sounds = []
    for streams in links:
        stream = next((s for s in streams if s.codec.startswith((_VORBIS, _OPUS, _FLAC_IN_OGG))), None)
        if stream is None:
            raise CodecNotSupportedError("neither Vorbis nor Opus nor FLAC", (whole,))
        if stream.codec.startswith(_FLAC_IN_OGG):
            # Its packets, put together, are a FLAC file.
            packets = [whole[place.start : place.stop] for place in joined(stream.contents)]
            sounds += _flac_sounds(path, part_of(packets, _FLAC_IN_OGG_MARK_BYTES, sum(map(len, packets))))
        else:
            sounds.append(_ogg_sound(path, whole, stream))
    return sounds


def _ogg_sound(path: Path, whole: range, stream: OggStream) -> _Sound:
    """The sound of a stream of Vorbis or Opus."""
    pieces: list[Piece] = [whole[place.start : place.stop] for place in joined(stream.pages)]
    length = sum(map(len, pieces))
    with SplicedFile(path, pieces) as file:
        if not stream.is_ended:
            last_at = length - len(stream.pages[-1])
            pieces = [*part_of(pieces, 0, last_at), as_last_page(bytes_at(file, last_at, length - last_at))]
        if not stream.codec.startswith(_OPUS):
            return _Sound(tuple(pieces), is_decoder_right=True)
        page_bytes, packet_bytes = len(stream.pages[0]), len(stream.contents[0])
        page_head = bytes_at(file, 0, page_bytes - packet_bytes)
        skip, packet = read_opus_head(file.read(packet_bytes))
    shown = with_checksum(bytearray(page_head + packet))
    return _Sound((shown, *part_of(pieces, page_bytes, length)), is_decoder_right=True, skip=skip)


def _mpeg_sound(path: Path, pieces: Sequence[Piece]) -> _Sound:
    """Fed to libsndfile through a pipe: from a file it would trust an extrapolated length and stop there. Frames of the
    free format need a file, in which it measures them.
    """
    with open_spliced(path, pieces) as file:
        stream = read_mpeg_stream(file)
    if stream is None:
        raise undecodable("the file holds no MPEG audio frames")
    promised = stream.promised_frames
    if promised is not None and promised > stream.num_frames + 1:  # some writers count the tag's own frame
        raise undecodable(
            f"the file is truncated: its header promises {promised} frames, {stream.num_frames} are there"
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
