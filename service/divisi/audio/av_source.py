"""Decodes m4a, aac and webm (and codecs foreign to libsndfile) with FFmpeg through PyAV: the only module that imports
it. Loaded by name from `decode`, and only where the `av` extra is installed.

Of MP4 and WebM, FFmpeg plays what is there and stays silent; so `check_is_whole` asks their outermost boxes first.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np

from divisi.audio.recording import AudioFacts, Samples, check_sample_rate
from divisi.audio.sniff import BOXES
from divisi.audio.source import Piece, Seekable, SplicedFile, bytes_at, undecodable
from divisi.contract.errors import InputError

# FFmpeg's names. Said outright: left to guess, it would take a file for a playlist and open what that names.
_DEMUXERS = {
    "m4a": "mov",
    "webm": "matroska",
    "aac": "aac",
    "wav": "wav",
    "rf64": "wav",
    "aiff": "aiff",
    "caf": "caf",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
}
# Durations in WebM are rounded to milliseconds and include what encoders put in front.
_DURATION_TOLERANCE_SECONDS = 0.1


class AvSource:
    """A BlockSource over FFmpeg. Raises InputError."""

    def __init__(self, path: Path, container: str, pieces: Sequence[Piece]) -> None:
        self._source = SplicedFile(path, pieces)
        try:
            check_is_whole(self._source, container)
            self._source.seek(0)
            self._file = self._open(container)
            self._stream = self._choose_stream()
            self.facts = self._read_facts(container)
        except BaseException:
            self.close()
            raise
        self.promised_samples = self._promise(container)
        self._blocks = self._decode()
        self._left_over = np.zeros((self.facts.num_channels, 0), np.float32)
        self._taken = 0

    def read(self, num_samples: int) -> Samples:
        if not self._left_over.shape[1]:
            self._left_over = next(self._blocks, self._left_over)
        block, self._left_over = self._left_over[:, :num_samples], self._left_over[:, num_samples:]
        self._taken += block.shape[1]
        return np.ascontiguousarray(block)

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        self._source.close()

    def _open(self, container: str) -> av.container.InputContainer:
        try:
            return av.open(
                self._source,
                mode="r",
                format=_DEMUXERS[container],
                options={"protocol_whitelist": "file"},
                metadata_errors="ignore",
            )
        except av.FFmpegError as error:
            raise undecodable(f"the file cannot be decoded: {error.strerror}") from error

    def _choose_stream(self) -> av.AudioStream:
        if not self._file.streams.audio:
            raise InputError("the file has no sound track", code="not-audio")
        # As ffmpeg does: the track that players begin with, else the one of most channels, else the first.
        stream = max(self._file.streams.audio, key=_preference)
        if stream.codec_context is None:
            raise InputError("the file's sound track has an unknown codec", code="unsupported-format")
        stream.codec_context.thread_count = 1
        return stream

    def _read_facts(self, container: str) -> AudioFacts:
        context = self._stream.codec_context
        check_sample_rate(context.sample_rate or 0)
        seconds = (self._file.duration or 0) / av.time_base
        if container == "aac":
            seconds = 0.0  # extrapolated by FFmpeg from the first frames
        elif self._stream.duration is not None and self._stream.time_base is not None:
            seconds = float(self._stream.duration * self._stream.time_base)
        return AudioFacts(
            container=container,
            codec=context.name,
            sample_rate=context.sample_rate,
            num_channels=context.channels,
            num_samples=round(seconds * context.sample_rate),
            exact=False,
        )

    def _promise(self, container: str) -> int | None:
        """WebM's damaged parts are skipped in silence, so its duration is held against what comes out (unless a film
        sets it).
        """
        if container != "webm" or self._file.streams.video or not self.facts.num_samples:
            return None
        tolerance = round(_DURATION_TOLERANCE_SECONDS * self.facts.sample_rate)
        return max(0, self.facts.num_samples - tolerance)

    def _decode(self) -> Iterator[Samples]:
        # Interleaved: of frames with a plane for each of eight channels or more, PyAV reads one plane too many.
        resampler = av.AudioResampler(format="flt")
        rate, channels = self.facts.sample_rate, self.facts.num_channels
        try:
            for frame, following in pairwise(chain(self._file.decode(self._stream), [None])):
                assert frame is not None  # the mark behind the last comes second alone
                if frame.sample_rate != rate or frame.layout.nb_channels != channels:
                    raise InputError(
                        f"rate or channels change at {self._taken / rate:.1f} s; that cannot be separated",
                        code="unsupported-format",
                    )
                length = frame.samples if following is not None else self._length_of_last(frame)
                for plain in resampler.resample(frame):
                    samples = plain.to_ndarray().reshape(-1, channels)[:length]
                    yield samples.T.astype(np.float32, copy=False)
        except av.FFmpegError as error:
            seconds = self._taken / rate
            raise undecodable(f"the file is damaged or truncated after {seconds:.1f} s: {error.strerror}") from error

    def _length_of_last(self, frame: av.AudioFrame) -> int:
        """Samples that count: in MP4 the last frame's duration says how much of it is the encoder's padding. Elsewhere
        durations may be guesses.
        """
        is_in_samples = frame.time_base is not None and frame.time_base * self.facts.sample_rate == 1
        if self.facts.container == "m4a" and is_in_samples and frame.duration:
            return min(frame.samples, frame.duration)
        return frame.samples


def _preference(track: av.AudioStream) -> tuple[bool, int]:
    is_default = bool(track.disposition & av.stream.Disposition.default)
    return is_default, 0 if track.codec_context is None else track.codec_context.channels


_SEGMENT_ID = b"\x18\x53\x80\x67"
_NEEDED_BOXES = frozenset({b"moov", b"moof", b"mdat"})


def check_is_whole(file: Seekable, container: str) -> None:
    """Raises InputError `undecodable` when an outermost box of an `m4a` or `webm` file reaches beyond its end, or when
    an `m4a` file has no index.
    """
    file_bytes = file.seek(0, io.SEEK_END)
    end = 0
    if container == "m4a":
        end = _end_of_boxes(file, file_bytes)
    elif container == "webm":
        end = _end_of_segment(file)
    if end > file_bytes:
        raise undecodable(f"the file is truncated: it should have {end} bytes, {file_bytes} are there")


def _end_of_boxes(file: Seekable, file_bytes: int) -> int:
    """Where the last box ends that is needed (ISO 14496-12, section 4.2): 32-bit length, type; length 1: 64 bits
    follow; 0: to the end.
    """
    position = end = 0
    seen = set()
    while position < file_bytes:
        head = bytes_at(file, position, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if name not in BOXES and not name.isalnum():
            break  # padding behind the last box
        seen.add(name)
        if length == 0:
            break  # up to the end of the file
        position += max(length, 8)
        # What reaches beyond the end is not needed where index and sound are there.
        if name in _NEEDED_BOXES or not (b"moov" in seen and seen & {b"mdat", b"moof"}):
            end = position
    if end <= file_bytes and b"moov" not in seen:
        raise undecodable(
            "the file is unfinished: it has no index (`moov`), as when a recorder is interrupted; the device or a "
            "repair program may be able to write it"
        )
    return end


def _end_of_segment(file: Seekable) -> int:
    """Where the segment ends (RFC 8794: identifier, length, body); 0 where its length was left open, as in live
    recordings.
    """
    head = bytes_at(file, 0, 64 * 1024)
    header_length, body = _read_length(head, 4)
    segment = body + (header_length or 0)
    if head[segment : segment + 4] != _SEGMENT_ID:
        return 0
    length, body = _read_length(head, segment + 4)
    return 0 if length is None else body + length


def _read_length(data: bytes, position: int) -> tuple[int | None, int]:
    """A length whose leading zero bits say how many bytes it takes; None when all its bits are 1 (unknown). And where
    it ends.
    """
    if position >= len(data) or data[position] == 0:
        return None, position
    num_bytes = 9 - data[position].bit_length()
    mask = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(data[position : position + num_bytes], "big") & mask
    return None if value == mask else value, position + num_bytes
