"""Stems as files: `open_encoder` takes blocks of float samples and writes one of STEM_FORMATS, in flat memory, the same
bytes each time.

The last step of *upload → job → worker → engine → stems*. `check_stem_format` tells before a job is accepted what a
format cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import soundfile

from divisi.audio.channel_order import vorbis_from_wav_order
from divisi.audio.fixed_point import to_fixed_point
from divisi.audio.ogg_pages import set_serial_number
from divisi.audio.wav_writer import WavCoding, WavWriter
from divisi.audio.waveform import Samples, check_samples
from divisi.errors import InputError


class StemFormat(StrEnum):
    """What stems are delivered as."""

    WAV16 = "wav16"
    WAV24 = "wav24"
    WAV32F = "wav32f"
    FLAC = "flac"
    OGG = "ogg"
    MP3 = "mp3"

    @property
    def extension(self) -> str:
        """Ending of the file name, with its dot."""
        return STEM_FORMATS[self].extension

    @property
    def media_type(self) -> str:
        """MIME type."""
        return STEM_FORMATS[self].media_type

    @property
    def is_lossless(self) -> bool:
        """True where stems add up to the input within rounding."""
        return STEM_FORMATS[self].is_lossless


class _Sink(Protocol):
    clipped_samples: int

    def write(self, samples: Samples) -> None: ...

    def close(self) -> None: ...


class AudioEncoder:
    """One stem being written; a context manager. See `open_encoder`."""

    def __init__(self, sink: _Sink, num_channels: int) -> None:
        self._sink = sink
        self._num_channels = num_channels
        self.num_samples = 0

    def write(self, samples: Samples) -> None:
        """Appends float32 `(C, n)`; n may be 0. Raises ValueError on another shape or type."""
        check_samples(samples, self._num_channels)
        if samples.shape[1]:
            self._sink.write(samples)
            self.num_samples += samples.shape[1]

    @property
    def clipped_samples(self) -> int:
        """How many samples lay beyond full scale and were cut there; always 0 for formats without a full scale."""
        return self._sink.clipped_samples

    def close(self) -> None:
        """Completes the file."""
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_stem_format(name: str) -> StemFormat:
    """The format of that name; `wav` is `wav24`. Raises InputError `unsupported-stem-format`."""
    if name == "wav":
        return StemFormat.WAV24
    try:
        return StemFormat(name)
    except ValueError:
        names = ", ".join(["wav", *StemFormat])
        raise _unsupported(f"there is no stem format {name!r}; known are {names}") from None


def check_stem_format(stem_format: StemFormat, sample_rate: int, num_channels: int) -> None:
    """Raises InputError `unsupported-stem-format` when the format cannot hold this rate (Hz) or number of channels."""
    capability = STEM_FORMATS[stem_format]
    if num_channels > capability.max_channels:
        raise _unsupported(
            f"{stem_format} holds at most {capability.max_channels} channels; the recording has {num_channels}"
        )
    if not capability.holds_rate(sample_rate):
        raise _unsupported(f"{stem_format} cannot hold a sample rate of {sample_rate} Hz; {capability.rates} it can")


def open_encoder(path: Path, stem_format: StemFormat, sample_rate: int, num_channels: int) -> AudioEncoder:
    """Starts a stem file.

    Args:
        path: file to create or replace; its name is the caller's choice.
        stem_format: how to write it.
        sample_rate: Hz.
        num_channels: C of every block to come.

    Raises:
        InputError: `unsupported-stem-format`, as `check_stem_format`.
    """
    check_stem_format(stem_format, sample_rate, num_channels)
    return AudioEncoder(STEM_FORMATS[stem_format].open_sink(path, sample_rate, num_channels), num_channels)


class _FlacSink:
    """FLAC of 24 bits. libsndfile takes the words as the top bits of int32."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        self.clipped_samples = 0
        self._file = soundfile.SoundFile(path, "w", sample_rate, num_channels, subtype="PCM_24", format="FLAC")

    def write(self, samples: Samples) -> None:
        words, num_clipped = to_fixed_point(np.ascontiguousarray(samples.T), bits=24)
        self.clipped_samples += num_clipped
        self._file.write(words << 8)

    def close(self) -> None:
        self._file.close()


class _LossySink:
    """Ogg Vorbis and MP3, which code floats: nothing is clipped here."""

    # libvorbis puts a whole call's samples on the stack and dies of large ones.
    _BLOCK_LENGTH = 4096

    def __init__(self, file: soundfile.SoundFile, channel_order: list[int] | None) -> None:
        self.clipped_samples = 0
        self._file = file
        self._channel_order = channel_order

    def write(self, samples: Samples) -> None:
        if self._channel_order is not None:
            samples = samples[self._channel_order]
        interleaved = np.ascontiguousarray(samples.T)
        for start in range(0, len(interleaved), self._BLOCK_LENGTH):
            self._file.write(interleaved[start : start + self._BLOCK_LENGTH])

    def close(self) -> None:
        self._file.close()


class _OggSink(_LossySink):
    # Of libsndfile's scale 0 … 1 from best to smallest: Vorbis quality 6, about 190 kbit/s for stereo at 44.1 kHz.
    _COMPRESSION = 0.4

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        file = soundfile.SoundFile(
            path, "w", sample_rate, num_channels, format="OGG", subtype="VORBIS", compression_level=self._COMPRESSION
        )
        super().__init__(file, vorbis_from_wav_order(num_channels))
        self._path = path

    def close(self) -> None:
        if self._file.closed:
            return
        super().close()
        # libsndfile draws the stream's serial number by lot; equal stems shall be equal bytes.
        set_serial_number(self._path, 1)


def _open_mp3_sink(path: Path, sample_rate: int, num_channels: int) -> _LossySink:
    # LAME's variable rate V2, about 190 kbit/s for stereo at 44.1 kHz.
    file = soundfile.SoundFile(
        path,
        "w",
        sample_rate,
        num_channels,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=0.2,
    )
    return _LossySink(file, None)


def _wav_opener(coding: WavCoding) -> Callable[[Path, int, int], _Sink]:
    def open_wav(path: Path, sample_rate: int, num_channels: int) -> _Sink:
        return WavWriter(path, coding, sample_rate, num_channels)

    return open_wav


@dataclass(frozen=True)
class StemFormatCapability:
    """What a format is called outside, what it can hold, and how to open a file of it."""

    extension: str
    media_type: str
    is_lossless: bool
    max_channels: int
    rates: str
    holds_rate: Callable[[int], bool]
    open_sink: Callable[[Path, int, int], _Sink]


def _flac_holds(sample_rate: int) -> bool:
    """The frame header has 16 bits for Hz, or for tens of Hz."""
    return 1 <= sample_rate <= 65_535 or (sample_rate <= 655_350 and sample_rate % 10 == 0)


# MPEG 1, 2 and 2.5 layer III.
_MP3_RATES = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
# libvorbis has no set-up beyond and crashes instead of saying so.
_MAX_VORBIS_RATE = 200_000

_ANY_RATE = "1 to 4 294 967 295 Hz"


def _wav_capability(coding: WavCoding) -> StemFormatCapability:
    return StemFormatCapability(
        ".wav", "audio/wav", True, 1024, _ANY_RATE, lambda rate: 1 <= rate <= 0xFFFF_FFFF, _wav_opener(coding)
    )


STEM_FORMATS: dict[StemFormat, StemFormatCapability] = {
    StemFormat.WAV16: _wav_capability(WavCoding.PCM_16),
    StemFormat.WAV24: _wav_capability(WavCoding.PCM_24),
    StemFormat.WAV32F: _wav_capability(WavCoding.FLOAT),
    StemFormat.FLAC: StemFormatCapability(
        ".flac",
        "audio/flac",
        True,
        8,
        "up to 65 535 Hz, or tens of Hz up to 655 350 Hz",
        _flac_holds,
        _FlacSink,
    ),
    StemFormat.OGG: StemFormatCapability(
        ".ogg",
        "audio/ogg",
        False,
        255,
        "up to 200 000 Hz",
        lambda rate: 1 <= rate <= _MAX_VORBIS_RATE,
        _OggSink,
    ),
    StemFormat.MP3: StemFormatCapability(
        ".mp3",
        "audio/mpeg",
        False,
        2,
        ", ".join(str(rate) for rate in sorted(_MP3_RATES)) + " Hz",
        lambda rate: rate in _MP3_RATES,
        _open_mp3_sink,
    ),
}


def _unsupported(message: str) -> InputError:
    return InputError(message, code="unsupported-stem-format")
