"""Previews: each stem and the residual once more as a small MP3 file, which a page plays before it has the stems.

At 32 kHz, which is all that so few bits can hold, and makes every frame as long as the next, in samples and in bytes:
36 ms, 432 bytes of stereo. So a page asks for the bytes of the seconds that it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from divisi.audio.mp3 import QUICK, Mp3Writer
from divisi.audio.recording import Samples
from divisi.audio.resample import StreamResampler
from divisi.contract.files import FILES

SAMPLE_RATE = 32_000
# By channels. Ten minutes of stereo in five files take 36 MB.
_KBPS = {1: 64, 2: 96}


class PreviewFiles:
    """The previews of one delivery, being written; a context manager that closes them.

    Args:
        folder: where to create them.
        tracks: names of the stems, and of the residual where it is one, K.
        sample_rate: of what is written, Hz.
        num_channels: C of it; more than two become one.
    """

    def __init__(self, folder: Path, tracks: Sequence[str], sample_rate: int, num_channels: int) -> None:
        self.paths = [folder / preview_name(track) for track in tracks]
        self._num_channels = num_channels if num_channels <= 2 else 1
        self._resampler = StreamResampler(len(tracks) * self._num_channels, sample_rate, SAMPLE_RATE)
        kbps = _KBPS[self._num_channels]
        with ExitStack() as opened:
            self._writers = [
                opened.enter_context(Mp3Writer(path, SAMPLE_RATE, self._num_channels, kbps, QUICK))
                for path in self.paths
            ]
            self._opened = opened.pop_all()

    def write(self, tracks: Sequence[Samples]) -> None:
        """Takes the next block of all tracks, float32 (K, C, n)."""
        folded = np.stack(tracks)
        if folded.shape[1] > 2:
            folded = folded.mean(axis=1, keepdims=True)
        self._encode(self._resampler.push(folded.reshape(-1, folded.shape[-1])))

    def finish(self) -> list[Path]:
        """Writes what is left, and completes the files."""
        none_left = np.zeros((len(self.paths) * self._num_channels, 0), np.float32)
        self._encode(self._resampler.push(none_left, is_last=True))
        self._opened.close()
        return self.paths

    def _encode(self, samples: Samples) -> None:
        tracks = samples.reshape(len(self._writers), self._num_channels, -1)
        for writer, track in zip(self._writers, tracks, strict=True):
            writer.write(track)

    def __enter__(self) -> PreviewFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def preview_name(track: str) -> str:
    """Name of a track's preview."""
    return FILES["preview"].name_at(track)
