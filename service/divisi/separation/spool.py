"""A recording on disk while it is fitted: written once as it comes, read in any order. Flat memory for any length."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from divisi.audio.recording import Samples

_BYTES = np.dtype(np.float32).itemsize


class Spool:
    """A nameless temporary file, gone when the context ends.

    Args:
        num_channels: C.
        folder: where it lies; None: the system's.
    """

    def __init__(self, num_channels: int, folder: Path | None = None) -> None:
        self._num_channels = num_channels
        self._file = tempfile.TemporaryFile(dir=folder, prefix="divisi-spool-")  # noqa: SIM115  (closed by __exit__)
        self.num_samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._file.close()

    def write(self, block: Samples) -> None:
        """Takes the next samples, float32 (C, n)."""
        self._file.write(np.ascontiguousarray(block.T).data)
        self.num_samples += block.shape[1]

    def read(self, start: int, length: int) -> Samples:
        """Samples `start` … `start + length`, as far as there are: float32 (C, n)."""
        length = max(min(length, self.num_samples - start), 0)
        self._file.seek(start * self._num_channels * _BYTES)
        content = self._file.read(length * self._num_channels * _BYTES)
        return np.ascontiguousarray(np.frombuffer(content, np.float32).reshape(length, self._num_channels).T)

    def blocks(self, length: int) -> Iterator[Samples]:
        """All samples from the first on, float32 (C, length) each, the last one shorter."""
        for start in range(0, self.num_samples, length):
            yield self.read(start, length)
