"""Stems as files: `open_encoder` takes blocks of samples and writes a file of one StemFormat, the same bytes each time.

The last step of *upload → job → worker → engine → stems*; memory stays flat. `check_stem_format` tells before a job is
accepted what a format cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from divisi.audio.sndfile_sinks import FlacSink, Mp3Sink, OggSink
from divisi.audio.wav_writer import WavCoding, WavWriter
from divisi.audio.waveform import Samples, check_samples
from divisi.errors import InputError


class StemFormat(StrEnum):
    """What stems are delivered as. `wav` is 24 bit, or float where the recording goes beyond full scale."""

    WAV = "wav"
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

    @property
    def bits(self) -> int | None:
        """Of a sample in a format of whole numbers, which cut off what lies beyond full scale; None for the others."""
        return STEM_FORMATS[self].bits

    def for_peak(self, peak: float) -> StemFormat:
        """What is written for a recording whose largest sample is `peak`, full scale 1."""
        if self is not StemFormat.WAV:
            return self
        return StemFormat.WAV32F if peak > 1 else StemFormat.WAV24


class _Sink(Protocol):
    clipped_samples: int

    def write(self, samples: Samples) -> None: ...

    def close(self) -> None: ...


class AudioEncoder:
    """One stem being written; a context manager. See `open_encoder`. `num_samples` counts what was written."""

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
        """How many samples lay beyond full scale and were cut there; always 0 for formats that code floats."""
        return self._sink.clipped_samples

    def close(self) -> None:
        """Completes the file."""
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parse_stem_format(name: str) -> StemFormat:
    """The format of that name. Raises InputError `unsupported-stem-format`."""
    try:
        return StemFormat(name)
    except ValueError:
        names = ", ".join(StemFormat)
        raise _unsupported(f"there is no stem format {name!r}; known are {names}") from None


def check_stem_format(stem_format: StemFormat, sample_rate: int, num_channels: int) -> None:
    """Raises InputError `unsupported-stem-format` when the format cannot hold this rate (Hz) or number of channels."""
    capability = STEM_FORMATS[stem_format]
    if num_channels > capability.max_channels:
        raise _unsupported(
            f"{stem_format} holds at most {capability.max_channels} channels; the recording has {num_channels}"
        )
    if not capability.holds_rate(sample_rate):
        raise _unsupported(f"{stem_format} holds {capability.rates}; the recording has {sample_rate} Hz")


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


@dataclass(frozen=True)
class StemFormatCapability:
    """What a format is called outside, what it can hold (`rates` in words; `bits` None: floats), and how to open a
    file of it.
    """

    extension: str
    media_type: str
    is_lossless: bool
    bits: int | None
    max_channels: int
    rates: str
    holds_rate: Callable[[int], bool]
    open_sink: Callable[[Path, int, int], _Sink]


def _wav_holds(sample_rate: int) -> bool:
    return 1 <= sample_rate <= 0xFFFF_FFFF


def _flac_holds(sample_rate: int) -> bool:
    """A frame header has 16 bits for Hz, or for tens of Hz."""
    return 1 <= sample_rate <= 65_535 or (sample_rate <= 655_350 and sample_rate % 10 == 0)


def _ogg_holds(sample_rate: int) -> bool:
    """libvorbis has no set-up for more and crashes instead of saying so."""
    return 1 <= sample_rate <= 200_000


# MPEG 1, 2 and 2.5, layer III.
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def _wav(coding: WavCoding) -> StemFormatCapability:
    open_sink = partial(WavWriter, coding)
    bits = None if coding is WavCoding.FLOAT else coding.value[1]
    return StemFormatCapability(".wav", "audio/wav", True, bits, 1024, "1 to 4294967295 Hz", _wav_holds, open_sink)


STEM_FORMATS: dict[StemFormat, StemFormatCapability] = {
    StemFormat.WAV: _wav(WavCoding.PCM_24),
    StemFormat.WAV16: _wav(WavCoding.PCM_16),
    StemFormat.WAV24: _wav(WavCoding.PCM_24),
    StemFormat.WAV32F: _wav(WavCoding.FLOAT),
    StemFormat.FLAC: StemFormatCapability(
        ".flac", "audio/flac", True, 24, 8, "up to 65535 Hz, and tens of Hz up to 655350 Hz", _flac_holds, FlacSink
    ),
    StemFormat.OGG: StemFormatCapability(".ogg", "audio/ogg", False, None, 255, "up to 200000 Hz", _ogg_holds, OggSink),
    StemFormat.MP3: StemFormatCapability(
        ".mp3",
        "audio/mpeg",
        False,
        None,
        2,
        ", ".join(map(str, _MP3_RATES)) + " Hz",
        _MP3_RATES.__contains__,
        Mp3Sink,
    ),
}


def _unsupported(message: str) -> InputError:
    return InputError(message, code="unsupported-stem-format")
