"""A file seen with a few of its header bytes replaced: the decoder gets the header it can work with, the file stays as
it is.
"""

from __future__ import annotations

import io
from pathlib import Path


class PatchedFile(io.RawIOBase):
    """Reads a file with bytes replaced.

    Args:
        path: the file.
        patches: offset in the file -> bytes shown there.
    """

    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._patches = patches

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        start = self._file.tell()
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view)
        for offset, patch in self._patches.items():
            first = max(offset, start)
            last = min(offset + len(patch), start + count)
            if first < last:
                view[first - start : last - start] = patch[first - offset : last - offset]
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset = max(offset, 0)  # where the size of a chunk leads astray; the decoder does not expect an error
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
