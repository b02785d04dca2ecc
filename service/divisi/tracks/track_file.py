"""A learning track as a file: encoded, with its tags, in MP3 with a picture."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from divisi.audio.mp3 import GOOD, MP3_RATES, Mp3Writer
from divisi.audio.recording import Samples
from divisi.contract.tracks import TrackFormat

# Of MP3, by channels.
_KBPS = {1: 96, 2: 160}
_SNDFILE: dict[TrackFormat, dict[str, Any]] = {
    TrackFormat.OGG: {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.4},
    TrackFormat.FLAC: {"format": "FLAC", "subtype": "PCM_16"},
    TrackFormat.WAV: {"format": "WAV", "subtype": "PCM_16"},
}
# Of the picture, in pixels, and its colours; those of rows as long as they last.
_SIZE, _MARGIN, _BARS = 480, 24, 72
_PAPER, _QUIET = (250, 248, 244), (196, 192, 186)
_COLOURS = ((196, 59, 83), (214, 129, 23), (43, 122, 120), (60, 85, 165), (122, 78, 150), (96, 124, 58))
# libvorbis puts a whole call's samples on the stack and dies of large ones.
_BLOCK_LENGTH = 4096


@dataclass(frozen=True)
class Tags:
    """What a player shows: the track's title, whose it is, the song that it is of, its number, a picture (PNG)."""

    title: str
    artist: str
    album: str
    number: int
    cover: bytes = b""


class TrackWriter(Protocol):
    """A track being written: `write` appends float32 (C, n), `close` completes it."""

    def write(self, samples: Samples) -> None: ...

    def close(self) -> None: ...


def track_rate(sample_rate: int, encoding: TrackFormat) -> int:
    """The rate of tracks, Hz: the recording's, or in place of what phones or MP3 do not play one that they do."""
    if sample_rate in MP3_RATES or (sample_rate <= max(MP3_RATES) and encoding is not TrackFormat.MP3):
        return sample_rate
    return 48_000 if sample_rate % 8_000 == 0 else 44_100


def open_track(path: Path, encoding: TrackFormat, sample_rate: int, num_channels: int, tags: Tags) -> TrackWriter:
    """Starts a track of one or two channels; its rate is one that `track_rate` gives."""
    if encoding is TrackFormat.MP3:
        return _TaggedMp3(path, sample_rate, num_channels, tags)
    return _SndfileTrack(path, encoding, sample_rate, num_channels, tags)


class _TaggedMp3:
    """MP3; the tag is put in front when all is written."""

    def __init__(self, path: Path, sample_rate: int, num_channels: int, tags: Tags) -> None:
        self._path, self._audio_path, self._tag = path, path.with_name(f"{path.name}.audio"), id3_tag(tags)
        self._writer = Mp3Writer(self._audio_path, sample_rate, num_channels, _KBPS[num_channels], GOOD)

    def write(self, samples: Samples) -> None:
        self._writer.write(samples)

    def close(self) -> None:
        self._writer.close()
        with self._audio_path.open("rb") as audio, self._path.open("wb") as file:
            file.write(self._tag)
            shutil.copyfileobj(audio, file)
        self._audio_path.unlink()


class _SndfileTrack:
    """By libsndfile, which writes the tags too."""

    def __init__(self, path: Path, encoding: TrackFormat, sample_rate: int, num_channels: int, tags: Tags) -> None:
        kind = _SNDFILE[encoding]
        self._file = soundfile.SoundFile(os.fsencode(path), "w", sample_rate, num_channels, **kind)
        self._file.title, self._file.album, self._file.tracknumber = tags.title, tags.album, str(tags.number)
        if tags.artist:
            self._file.artist = tags.artist

    def write(self, samples: Samples) -> None:
        interleaved = np.ascontiguousarray(samples.T)
        for start in range(0, len(interleaved), _BLOCK_LENGTH):
            self._file.write(interleaved[start : start + _BLOCK_LENGTH])

    def close(self) -> None:
        self._file.close()


def id3_tag(tags: Tags) -> bytes:
    """ID3v2.3, which every player reads (id3.org, "ID3 tag version 2.3.0")."""
    texts = {"TIT2": tags.title, "TPE1": tags.artist, "TALB": tags.album, "TRCK": str(tags.number)}
    # Encoding 1: UTF-16 with its mark.
    frames = b"".join(_frame(name, b"\x01" + text.encode("utf-16")) for name, text in texts.items() if text)
    if tags.cover:
        # Latin-1, the picture's type, "front cover", no description.
        frames += _frame("APIC", b"\x00image/png\x00\x03\x00" + tags.cover)
    # Seven bits a byte, so that no decoder takes a size for a frame of audio.
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frames


def _frame(name: str, body: bytes) -> bytes:
    return name.encode("ascii") + len(body).to_bytes(4, "big") + bytes(2) + body


def cover_png(levels: NDArray[np.float32], shown: Sequence[bool]) -> bytes:
    """A square picture, PNG: a row for each stem, how loud it is over the song; the part's own in colour.

    Args:
        levels: largest samples of each stem over the song, float32 (S, steps).
        shown: of each stem, whether its row is in colour.
    """
    image = np.empty((_SIZE, _SIZE, 3), np.uint8)
    image[:] = _PAPER
    num_rows = len(levels)
    height = (_SIZE - 2 * _MARGIN) / num_rows
    width = (_SIZE - 2 * _MARGIN) / _BARS
    bars = _bars(levels)
    for row in range(num_rows):
        middle = _MARGIN + (row + 0.5) * height
        colour = _COLOURS[row % len(_COLOURS)] if shown[row] else _QUIET
        for place, level in enumerate(bars[row]):
            half = max(1.0, 0.44 * height * float(level))
            left = round(_MARGIN + place * width)
            image[round(middle - half) : round(middle + half), left : left + max(1, round(width * 0.6))] = colour
    return _png(image)


def _bars(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest of equal stretches, the loudest bar of all at 1; float32 (S, bars)."""
    edges = np.linspace(0, levels.shape[1], _BARS + 1)
    stretches = [levels[:, int(begin) : max(int(begin) + 1, int(end))] for begin, end in pairwise(edges)]
    bars = np.stack([stretch.max(axis=1, initial=0) for stretch in stretches], axis=1)
    return np.asarray(bars / max(float(bars.max(initial=0)), 1e-9), np.float32)


def _png(image: NDArray[np.uint8]) -> bytes:
    """8-bit RGB, uint8 (height, width, 3), without filters (PNG specification, ISO/IEC 15948)."""
    height, width, _ = image.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    lines = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], axis=1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big") for name, body in chunks
    )
