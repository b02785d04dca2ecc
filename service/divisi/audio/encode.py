"""Stems as files: `open_encoder` takes blocks of samples and writes a file of one StemFormat, the same bytes each time.

The last step of *upload → job → worker → engine → stems*; memory stays flat. `check_stem_format` tells before a job is
accepted what a format cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from divisi.audio.sndfile_sinks import FlacSink, Mp3Sink, OggSink
from divisi.audio.wav_writer import WavCoding, WavWriter
from divisi.audio.waveform import Samples, check_samples
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat


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


def check_stem_format(encoding: StemFormat, sample_rate: int, num_channels: int) -> None:
    """Raises InputError `unsupported-stem-format` when the format cannot hold this rate (Hz) or number of channels."""
    capability = STEM_FORMATS[encoding]
    if num_channels > capability.max_channels:
        raise _unsupported(
            f"{encoding} holds at most {capability.max_channels} channels; the recording has {num_channels}"
        )
    if not capability.holds_rate(sample_rate):
        raise _unsupported(f"{encoding} holds {capability.rates}; the recording has {sample_rate} Hz")


def open_encoder(path: Path, encoding: StemFormat, sample_rate: int, num_channels: int) -> AudioEncoder:
    """Starts a stem file.

    Args:
        path: file to create or replace; its name is the caller's choice.
        encoding: how to write it.
        sample_rate: Hz.
        num_channels: C of every block to come.

    Raises:
        InputError: `unsupported-stem-format`, as `check_stem_format`.
    """
    check_stem_format(encoding, sample_rate, num_channels)
    return AudioEncoder(STEM_FORMATS[encoding].open_sink(path, sample_rate, num_channels), num_channels)


@dataclass(frozen=True)
class StemFormatCapability:
    """What a format can hold (`rates` in words), and how to open a file of it."""

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
    return StemFormatCapability(1024, "1 to 4294967295 Hz", _wav_holds, partial(WavWriter, coding))


STEM_FORMATS: dict[StemFormat, StemFormatCapability] = {
    StemFormat.WAV: _wav(WavCoding.PCM_24),
    StemFormat.WAV16: _wav(WavCoding.PCM_16),
    StemFormat.WAV24: _wav(WavCoding.PCM_24),
    StemFormat.WAV32F: _wav(WavCoding.FLOAT),
    StemFormat.FLAC: StemFormatCapability(8, "up to 65535 Hz, and tens of Hz up to 655350 Hz", _flac_holds, FlacSink),
    StemFormat.OGG: StemFormatCapability(255, "up to 200000 Hz", _ogg_holds, OggSink),
    StemFormat.MP3: StemFormatCapability(2, ", ".join(map(str, _MP3_RATES)) + " Hz", _MP3_RATES.__contains__, Mp3Sink),
}


def _unsupported(message: str) -> InputError:
    return InputError(message, code="unsupported-stem-format")
