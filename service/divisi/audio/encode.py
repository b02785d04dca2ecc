"""Stems as files: `open_encoder` takes blocks of samples and writes a file of one StemFormat, the same bytes each time.

The last step of *upload → job → worker → engine → stems*; memory stays flat. `check_encoding` says before a job is
accepted what a format cannot hold. WAV is written here, the other formats by libsndfile, which gets paths as bytes: it
encodes text strictly, and a file name need not be UTF-8.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import soundfile

from divisi.audio.recording import Samples, check_samples, to_fixed_point, vorbis_from_wav_order
from divisi.audio.xiph import set_serial_number
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat


def check_encoding(encoding: StemFormat, sample_rate: int, num_channels: int) -> None:
    """Raises InputError `unsupported-stem-format` when the format cannot hold this rate (Hz) or number of channels."""
    capability = _CAPABILITIES[encoding]
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
        InputError: `unsupported-stem-format`, as `check_encoding`.
    """
    check_encoding(encoding, sample_rate, num_channels)
    return AudioEncoder(_CAPABILITIES[encoding].open_sink(path, sample_rate, num_channels), num_channels)


class _Sink(Protocol):
    """A file being written: `write` appends float32 (C, n), `close` completes it and may be called twice."""

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


class WavCoding(Enum):
    """How a sample of WAV is coded: format tag, bits."""

    PCM_16 = (1, 16)
    PCM_24 = (1, 24)
    FLOAT = (3, 32)


_ALL_ONES = 0xFFFF_FFFF


class WavWriter:
    """WAV that turns into RF64 when it outgrows 4 GiB; sizes are filled in by `close`.

    Our own because libsndfile puts the time of day into float WAV (PEAK chunk) and must know beforehand whether RF64
    will be needed. Layout: `RIFF` · `JUNK` (28 bytes kept free for `ds64`) · `fmt ` · `fact` (float only) · `data`; EBU
    Tech 3306 for the change to RF64.

    Args:
        coding: sample coding.
        path: file to create or replace.
        sample_rate: Hz.
        num_channels: C.
        largest_riff: bytes beyond which the file is an RF64; only tests lower it.
    """

    def __init__(
        self, coding: WavCoding, path: Path, sample_rate: int, num_channels: int, *, largest_riff: int = _ALL_ONES
    ) -> None:
        self._tag, self._bits = coding.value
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._largest_riff = largest_riff
        self._num_samples = 0
        self.clipped_samples = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def write(self, samples: Samples) -> None:
        self._num_samples += samples.shape[1]
        interleaved = np.ascontiguousarray(samples.T)
        if self._bits == 32:
            self._file.write(interleaved.astype("<f4", copy=False).data)
            return
        words, num_clipped = to_fixed_point(interleaved, self._bits)
        self.clipped_samples += num_clipped
        low_bytes = words.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, : self._bits // 8]
        self._file.write(np.ascontiguousarray(low_bytes).data)

    def close(self) -> None:
        if self._file.closed:
            return
        with self._file:
            self._file.write(bytes(self._data_bytes % 2))
            self._file.seek(0)
            self._file.write(self._header())

    @property
    def _frame_bytes(self) -> int:
        return self._num_channels * self._bits // 8

    @property
    def _data_bytes(self) -> int:
        return self._num_samples * self._frame_bytes

    def _header(self) -> bytes:
        """The header for the samples written so far; its length does not change."""
        byte_rate = self._sample_rate * self._frame_bytes
        rates = (self._num_channels, self._sample_rate, byte_rate, self._frame_bytes, self._bits)
        fmt = struct.pack("<HHIIHH", self._tag, *rates)
        if self._bits == 32:
            fact = struct.pack("<I", min(self._num_samples, _ALL_ONES))
            chunks = _chunk(b"fmt ", fmt + bytes(2)) + _chunk(b"fact", fact)
        else:
            chunks = _chunk(b"fmt ", fmt)
        riff_bytes = 4 + 36 + len(chunks) + 8 + self._data_bytes + self._data_bytes % 2
        if riff_bytes + 8 <= self._largest_riff:
            start = b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVE" + _chunk(b"JUNK", bytes(28))
            return start + chunks + b"data" + struct.pack("<I", self._data_bytes)
        sizes = struct.pack("<QQQI", riff_bytes, self._data_bytes, self._num_samples, 0)
        see_sizes = struct.pack("<I", _ALL_ONES)
        return b"RF64" + see_sizes + b"WAVE" + _chunk(b"ds64", sizes) + chunks + b"data" + see_sizes


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body


class _FlacSink:
    """FLAC of 24 bits. libsndfile takes the words as the top bits of int32."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        self.clipped_samples = 0
        name = os.fsencode(path)
        self._file = soundfile.SoundFile(name, "w", sample_rate, num_channels, format="FLAC", subtype="PCM_24")

    def write(self, samples: Samples) -> None:
        words, num_clipped = to_fixed_point(np.ascontiguousarray(samples.T), bits=24)
        self.clipped_samples += num_clipped
        self._file.write(words << 8)

    def close(self) -> None:
        self._file.close()


# Vorbis of quality 6, and LAME's V2: about 190 kbit/s for stereo at 44.1 kHz. libsndfile's levels go from 0 (best) to 1
# (smallest).
_OGG = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.4}
_MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.2}


class _LossySink:
    """Ogg Vorbis or MP3, of the variable rate that `coding` names; they code floats, so nothing is clipped here."""

    # libvorbis puts a whole call's samples on the stack and dies of large ones. It also codes them differently when
    # they come in other blocks, so all but the last block have this length whatever the caller's have.
    _BLOCK_LENGTH = 4096

    def __init__(self, coding: dict[str, Any], path: Path, sample_rate: int, num_channels: int) -> None:
        self.clipped_samples = 0
        self._path = path
        self._file = soundfile.SoundFile(os.fsencode(path), "w", sample_rate, num_channels, **coding)
        self._is_ogg = self._file.format == "OGG"
        self._channel_order = vorbis_from_wav_order(num_channels) if self._is_ogg else None
        self._pending = np.zeros((0, num_channels), np.float32)

    def write(self, samples: Samples) -> None:
        if self._channel_order is not None:
            samples = samples[self._channel_order]
        waiting = np.concatenate([self._pending, samples.T])
        num_whole = len(waiting) // self._BLOCK_LENGTH * self._BLOCK_LENGTH
        for start in range(0, num_whole, self._BLOCK_LENGTH):
            self._file.write(waiting[start : start + self._BLOCK_LENGTH])
        self._pending = waiting[num_whole:].copy()

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.write(self._pending)
        self._file.close()
        if self._is_ogg:
            # libsndfile draws the stream's serial number by lot; equal stems shall be equal bytes.
            set_serial_number(self._path, 1)


@dataclass(frozen=True)
class _Capability:
    """What a format can hold (`rates` in words), and how to open a file of it."""

    max_channels: int
    rates: str
    holds_rate: Callable[[int], bool]
    open_sink: Callable[[Path, int, int], _Sink]


def _flac_holds(sample_rate: int) -> bool:
    """A frame header has 16 bits for Hz, or for tens of Hz."""
    return 1 <= sample_rate <= 65_535 or (sample_rate <= 655_350 and sample_rate % 10 == 0)


def _wav(coding: WavCoding) -> _Capability:
    return _Capability(1024, "1 to 4294967295 Hz", range(1, 1 << 32).__contains__, partial(WavWriter, coding))


# MPEG 1, 2 and 2.5, layer III.
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# libvorbis has no set-up for more and crashes instead of saying so.
_OGG_RATES = range(1, 200_001)

_CAPABILITIES: dict[StemFormat, _Capability] = {
    StemFormat.WAV: _wav(WavCoding.PCM_24),
    StemFormat.WAV16: _wav(WavCoding.PCM_16),
    StemFormat.WAV24: _wav(WavCoding.PCM_24),
    StemFormat.WAV32F: _wav(WavCoding.FLOAT),
    StemFormat.FLAC: _Capability(8, "up to 65535 Hz, and tens of Hz up to 655350 Hz", _flac_holds, _FlacSink),
    StemFormat.OGG: _Capability(255, "up to 200000 Hz", _OGG_RATES.__contains__, partial(_LossySink, _OGG)),
    StemFormat.MP3: _Capability(
        2, ", ".join(map(str, _MP3_RATES)) + " Hz", _MP3_RATES.__contains__, partial(_LossySink, _MP3)
    ),
}


def _unsupported(message: str) -> InputError:
    return InputError(message, code="unsupported-stem-format")
