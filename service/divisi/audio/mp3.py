"""MP3 of a constant rate, for listening: previews and learning tracks. A byte of the file is a time, so players seek in
what they have not loaded.

By lameenc where it is installed, three times as fast as the LAME in libsndfile, which stands in for it. Samples are
rounded to 16 bits; what stems need, no cut at full scale, `encode.py` has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from divisi.audio.frames import parse_frame_header, read_mpeg_stream
from divisi.audio.recording import Samples, to_fixed_point

try:
    import lameenc
except ImportError:  # the extras of gateway and worker bring it
    lameenc = None

# Hz of MPEG 1, layer III.
MP3_RATES = (32_000, 44_100, 48_000)
# LAME's scale from 2 (best) to 7 (fastest).
QUICK, GOOD = 7, 5
# How many samples LAME puts in front, and decoders take away again where the Info tag says so.
_DELAY = 576
_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BLOCK_LENGTH = 1 << 16


class Mp3Writer:
    """One MP3 file being written; `close` completes it.

    Args:
        path: file to create or replace.
        sample_rate: Hz, one of MP3_RATES.
        num_channels: 1 or 2.
        kbps: kilobits a second, one of the format's.
        quality: LAME's, QUICK or GOOD.
    """

    def __init__(self, path: Path, sample_rate: int, num_channels: int, kbps: int, quality: int = GOOD) -> None:
        if sample_rate not in MP3_RATES or num_channels not in (1, 2) or kbps not in _KBPS:
            raise ValueError(f"no MP3 of {sample_rate} Hz, {num_channels} channels, {kbps} kbit/s")
        sink = _Lame if lameenc else _Sndfile
        self._sink = sink(path, sample_rate, num_channels, kbps, quality)

    def write(self, samples: Samples) -> None:
        """Appends float32 (C, n); what lies beyond full scale is cut."""
        for start in range(0, samples.shape[1], _BLOCK_LENGTH):
            words, _ = to_fixed_point(np.ascontiguousarray(samples[:, start : start + _BLOCK_LENGTH].T), bits=16)
            self._sink.write(words.astype("<i2"))

    def close(self) -> None:
        """Completes the file; may be called twice."""
        self._sink.close()

    def __enter__(self) -> Mp3Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sndfile:
    """By libsndfile, which has one quality and takes the rate as a share of the way from 320 kbit/s down to 32."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int, kbps: int, _quality: int) -> None:
        coding: dict[str, Any] = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
        level = (320 - kbps) / 288
        self._file = soundfile.SoundFile(
            os.fsencode(path), "w", sample_rate, num_channels, compression_level=level, **coding
        )

    def write(self, words: np.ndarray) -> None:
        # Of 16-bit words of two channels libsndfile 1.2.2 makes noise.
        self._file.write(words.astype(np.float32) / 32_768)

    def close(self) -> None:
        self._file.close()


class _Lame:
    """By lameenc, which writes audio frames only: the frame with the Info tag is put in front here."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int, kbps: int, quality: int) -> None:
        self._encoder = lameenc.Encoder()
        self._encoder.silence()
        self._encoder.set_in_sample_rate(sample_rate)
        self._encoder.set_channels(num_channels)
        self._encoder.set_bit_rate(kbps)
        self._encoder.set_quality(quality)
        self._num_samples = 0
        self._tag_bytes = 144_000 * kbps // sample_rate
        self._file: BinaryIO = path.open("w+b")
        self._file.write(bytes(self._tag_bytes))

    def write(self, words: np.ndarray) -> None:
        self._num_samples += len(words)
        self._file.write(self._encoder.encode(words.tobytes()))

    def close(self) -> None:
        if self._file.closed:
            return
        with self._file:
            if self._num_samples == 0:  # LAME gives no frame of nothing
                self.write(np.zeros((1, 2), "<i2"))
                self._num_samples = 0
            self._file.write(self._encoder.flush())
            self._file.flush()
            stream = read_mpeg_stream(self._file)
            assert stream is not None
            self._file.seek(stream.start)
            head = self._file.read(4)
            self._file.seek(0)
            self._file.write(_info_frame(head, self._tag_bytes, stream.num_frames, self._num_samples, stream.end))


def _info_frame(head: bytes, tag_bytes: int, num_frames: int, num_samples: int, num_bytes: int) -> bytes:
    """A frame that holds no audio but how much there is, after the LAME project's "Mp3 info tag, revision 1".

    Args:
        head: of the first frame of audio.
        tag_bytes: length of the frame without padding.
        num_frames: frames of audio.
        num_samples: of the recording, for each channel.
        num_bytes: of the whole file.
    """
    head = bytes([head[0], head[1], head[2] & ~0x02, head[3]])
    header = parse_frame_header(head)
    assert header is not None
    padding = max(0, num_frames * header.samples - _DELAY - num_samples)
    contents = bytes(255 * percent // 100 for percent in range(100))
    tag = b"Info" + (0x0F).to_bytes(4, "big") + num_frames.to_bytes(4, "big") + num_bytes.to_bytes(4, "big")
    tag += contents + bytes(4) + b"LAME3.100" + bytes([1, 0]) + bytes(4 + 2 + 2 + 1 + 1)
    tag += (_DELAY << 12 | padding).to_bytes(3, "big") + bytes([0, 0, 0, 0])
    tag += num_bytes.to_bytes(4, "big") + bytes(2)
    frame = head + bytes(header.side_info_end - len(head)) + tag
    return (frame + _checksum(frame).to_bytes(2, "big")).ljust(tag_bytes, b"\0")


def _checksum(data: bytes) -> int:
    """CRC-16 with the polynomial 0x8005, bits reversed."""
    checksum = 0
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0xA001 if checksum & 1 else 0)
    return checksum
