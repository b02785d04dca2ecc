"""A process's folder for temporary files, removed at its end, and the folders of those of its kind that were killed.

A killed process cannot tidy up, and what it leaves is somebody's recording. Each folder holds a locked file; the kernel
drops the lock of a dead process, so a folder whose lock is free belongs to nobody.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from divisi.contract.errors import InputError

_LOCK = "lock"
# A short recording. Larger ones may still find too little and are refused as they come; below this nothing fits.
LEAST_FREE_BYTES = 8 * 1024**2


class Scratch:
    """The folder of one gateway or worker, as a context manager; `fresh_folder` gives an empty one for an attempt.

    Raises:
        InputError: on entering, where nothing can be written.
    """

    def __init__(self, parent: Path | None, kind: str) -> None:
        """
        Args:
            parent: where to make it; None: the system's folder for temporary files.
            kind: of process, such as `worker`.
        """
        self._parent = Path(tempfile.gettempdir()) if parent is None else parent
        self._prefix = f"divisi-{kind}-"

    def __enter__(self) -> Self:
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            self._remove_orphans()
            # Locked before it gets its name: another that starts at the same time must not take it for an orphan.
            unnamed = Path(tempfile.mkdtemp(prefix=f".{self._prefix}", dir=self._parent))
        except OSError as error:
            raise InputError(
                f"{self._parent} cannot be written to ({error.strerror}); DIVISI_WORK_DIR names the folder that "
                "recordings and stems are in while they are worked on",
                code="work-dir-unwritable",
            ) from error
        self._lock = (unnamed / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = unnamed.rename(self._parent / unnamed.name.removeprefix("."))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

    def fresh_folder(self, name: str) -> Path:
        """An empty folder of this name; whatever was there is removed."""
        folder = self.path / name
        self.remove(name)
        folder.mkdir()
        return folder

    def remove(self, name: str) -> None:
        """Removes the folder of this name, if there is one."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def _remove_orphans(self) -> None:
        for folder in self._parent.glob(f"{self._prefix}*"):
            lock_path = folder / _LOCK
            if not os.access(lock_path, os.W_OK):
                continue  # another user's
            with lock_path.open("r+") as lock:
                if _is_free(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def require_room(folder: Path) -> None:
    """Returns when a file can be written to the folder; leaves none behind, even when it is killed.

    Raises:
        OSError: with the reason, such as a disk that is full.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
        probe.write(b"1")
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
