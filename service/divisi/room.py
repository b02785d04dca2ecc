"""Can a folder be written to, and is there room in it?"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

# A short recording. Larger ones may still find too little and are refused as they come; below this nothing fits.
LEAST_FREE_BYTES = 8 * 1024**2


def require_room(folder: Path) -> None:
    """Returns when a file can be written to the folder; leaves none behind, even when it is killed.

    Raises:
        OSError: with the reason, such as a disk that is full.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
        probe.write(b"1")
    if shutil.disk_usage(folder).free < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
