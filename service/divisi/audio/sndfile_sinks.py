"""FLAC, Ogg Vorbis and MP3, written with libsndfile block by block: the sinks behind `encode`.

Paths go to soundfile as bytes: it encodes text strictly, and a file name need not be UTF-8.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile

from divisi.audio.channel_order import vorbis_from_wav_order
from divisi.audio.fixed_point import to_fixed_point
from divisi.audio.ogg_pages import set_serial_number
from divisi.audio.waveform import Samples


class FlacSink:
    """FLAC of 24 bits. libsndfile takes the words as the top bits of int32."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        self.clipped_samples = 0
        self._file = soundfile.SoundFile(
            os.fsencode(path), "w", sample_rate, num_channels, format="FLAC", subtype="PCM_24"
        )

    def write(self, samples: Samples) -> None:
        """Appends float32 `(C, n)`."""
        words, num_clipped = to_fixed_point(np.ascontiguousarray(samples.T), bits=24)
        self.clipped_samples += num_clipped
        self._file.write(words << 8)

    def close(self) -> None:
        """Completes the file."""
        self._file.close()


class LossySink:
    """What Ogg Vorbis and MP3 have in common: they code floats, so nothing is clipped here."""

    # libvorbis puts a whole call's samples on the stack and dies of large ones. It also codes them differently when
    # they come in other blocks, so all but the last block have this length whatever the caller's have.
    _BLOCK_LENGTH = 4096

    def __init__(self, file: soundfile.SoundFile, channel_order: list[int] | None) -> None:
        self.clipped_samples = 0
        self._file = file
        self._channel_order = channel_order
        self._pending = np.zeros((0, file.channels), np.float32)

    def write(self, samples: Samples) -> None:
        """Appends float32 `(C, n)`."""
        if self._channel_order is not None:
            samples = samples[self._channel_order]
        waiting = np.concatenate([self._pending, samples.T])
        num_whole = len(waiting) // self._BLOCK_LENGTH * self._BLOCK_LENGTH
        for start in range(0, num_whole, self._BLOCK_LENGTH):
            self._file.write(waiting[start : start + self._BLOCK_LENGTH])
        self._pending = waiting[num_whole:].copy()

    def close(self) -> None:
        """Completes the file."""
        if not self._file.closed:
            self._file.write(self._pending)
            self._file.close()


class OggSink(LossySink):
    """Ogg Vorbis of quality 6: about 190 kbit/s for stereo at 44.1 kHz."""

    # On libsndfile's scale from 0 (best) to 1 (smallest).
    _COMPRESSION = 0.4

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        file = soundfile.SoundFile(
            os.fsencode(path),
            "w",
            sample_rate,
            num_channels,
            format="OGG",
            subtype="VORBIS",
            compression_level=self._COMPRESSION,
        )
        super().__init__(file, vorbis_from_wav_order(num_channels))
        self._path = path

    def close(self) -> None:
        if self._file.closed:
            return
        super().close()
        # libsndfile draws the stream's serial number by lot; equal stems shall be equal bytes.
        set_serial_number(self._path, 1)


class Mp3Sink(LossySink):
    """MP3 of variable rate, LAME's V2: about 190 kbit/s for stereo at 44.1 kHz."""

    # On libsndfile's scale from 0 (best) to 1 (smallest).
    _COMPRESSION = 0.2

    def __init__(self, path: Path, sample_rate: int, num_channels: int) -> None:
        file = soundfile.SoundFile(
            os.fsencode(path),
            "w",
            sample_rate,
            num_channels,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="VARIABLE",
            compression_level=self._COMPRESSION,
        )
        super().__init__(file, channel_order=None)
