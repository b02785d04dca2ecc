"""Writes WAV that turns into RF64 when it outgrows 4 GiB, bit for bit the same on each run.

Our own because libsndfile puts the time of day into float WAV (PEAK chunk) and must know beforehand whether RF64 will
be needed.
Layout: `RIFF` · `JUNK` (28 bytes kept free for `ds64`) · `fmt ` · `fact` (float only) · `data`; EBU Tech 3306 for the
change to RF64.
"""

from __future__ import annotations

import struct
from enum import Enum
from pathlib import Path
from typing import Self

import numpy as np

from divisi.audio.fixed_point import to_fixed_point
from divisi.audio.waveform import Samples

_LARGEST_RIFF = 0xFFFF_FFFF
_SEE_DS64 = 0xFFFF_FFFF


class WavCoding(Enum):
    """How a sample is coded: format tag, bits."""

    PCM_16 = (1, 16)
    PCM_24 = (1, 24)
    FLOAT = (3, 32)


class WavWriter:
    """One WAV file being written; sizes are filled in by `close`.

    Args:
        coding: sample coding.
        path: file to create or replace.
        sample_rate: Hz.
        num_channels: C.
        largest_riff: bytes beyond which the file is an RF64; only tests lower it.
    """

    def __init__(
        self, coding: WavCoding, path: Path, sample_rate: int, num_channels: int, *, largest_riff: int = _LARGEST_RIFF
    ) -> None:
        self._coding = coding
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._largest_riff = largest_riff
        self._num_samples = 0
        self.clipped_samples = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def write(self, samples: Samples) -> None:
        """Appends float32 `(C, n)`."""
        self._num_samples += samples.shape[1]
        interleaved = np.ascontiguousarray(samples.T)
        if self._coding is WavCoding.FLOAT:
            self._file.write(interleaved.astype("<f4", copy=False).data)
            return
        words, num_clipped = to_fixed_point(interleaved, self._coding.value[1])
        self.clipped_samples += num_clipped
        if self._coding is WavCoding.PCM_16:
            self._file.write(words.astype("<i2").data)
        else:
            low_three_bytes = words.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, :3]
            self._file.write(np.ascontiguousarray(low_three_bytes).data)

    def close(self) -> None:
        """Pads, writes the sizes, closes."""
        if self._file.closed:
            return
        try:
            if self._data_bytes % 2:
                self._file.write(b"\0")
            self._file.seek(0)
            self._file.write(self._header())
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _frame_bytes(self) -> int:
        return self._num_channels * self._coding.value[1] // 8

    @property
    def _data_bytes(self) -> int:
        return self._num_samples * self._frame_bytes

    def _header(self) -> bytes:
        """The header for the samples written so far; its length does not change."""
        tag, bits = self._coding.value
        fmt = struct.pack(
            "<HHIIHH",
            tag,
            self._num_channels,
            self._sample_rate,
            self._sample_rate * self._frame_bytes,
            self._frame_bytes,
            bits,
        )
        chunks = b""
        if self._coding is WavCoding.FLOAT:
            chunks += _chunk(b"fmt ", fmt + struct.pack("<H", 0))
            chunks += _chunk(b"fact", struct.pack("<I", min(self._num_samples, 0xFFFF_FFFF)))
        else:
            chunks += _chunk(b"fmt ", fmt)
        riff_bytes = 4 + 36 + len(chunks) + 8 + self._data_bytes + self._data_bytes % 2
        if riff_bytes + 8 <= self._largest_riff:
            start = b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVE" + _chunk(b"JUNK", bytes(28))
            return start + chunks + b"data" + struct.pack("<I", self._data_bytes)
        sizes = struct.pack("<QQQI", riff_bytes, self._data_bytes, self._num_samples, 0)
        start = b"RF64" + struct.pack("<I", _SEE_DS64) + b"WAVE" + _chunk(b"ds64", sizes)
        return start + chunks + b"data" + struct.pack("<I", _SEE_DS64)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body
