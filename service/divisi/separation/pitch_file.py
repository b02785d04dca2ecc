"""Pitch tracks as a table for people and programs: `f0.csv`, one row per frame, written as the frames come.

    seconds,soprano,alto
    0.000,440.00,
    0.032,441.27,329.90

An empty field: the stem has no pitch there.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from divisi.separation.pitch_join import Tracks


class PitchFile:
    """One table being written; a context manager.

    Args:
        path: file to create or replace.
        stems: names of the columns.
        hop_seconds: from one frame to the next.
    """

    def __init__(self, path: Path, stems: Sequence[str], hop_seconds: float) -> None:
        self._file = path.open("w", newline="", encoding="ascii")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(["seconds", *stems])
        self._hop_seconds = hop_seconds
        self._num_frames = 0

    def write(self, tracks: Tracks) -> None:
        """Appends float32 (S, N) in Hz, 0 where unvoiced."""
        for frame in tracks.T.tolist():
            seconds = self._num_frames * self._hop_seconds
            self._rows.writerow([f"{seconds:.3f}", *(f"{pitch:.2f}" if pitch else "" for pitch in frame)])
            self._num_frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
