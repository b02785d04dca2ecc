"""Is there room for temporary files, and do the installed libraries fit?"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from divisi import DISTRIBUTION
from divisi.doctor.finding import Finding, bad, doubtful, good
from divisi.settings import Settings

SMALLEST_FREE_BYTES = 512 * 1024**2
# A recording, its stems at the same size each, and the residual.
COPIES_OF_A_RECORDING = 6


def examine_machine(settings: Settings) -> list[Finding]:
    """Looks at the folders that divisi writes to here, and at the versions of its libraries."""
    work_dir = Path(tempfile.gettempdir()) if settings.work_dir is None else settings.work_dir
    return [_examine_folder("work folder", work_dir, settings.max_upload_bytes), *_versions()]


def _examine_folder(subject: str, folder: Path, max_upload_bytes: int) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="divisi-doctor-") as file:
            file.write(os.urandom(1024))
            file.flush()
    except OSError as error:
        return bad(subject, f"{folder} cannot be written: {error.strerror}", "set DIVISI_WORK_DIR to a folder that can")
    free = shutil.disk_usage(folder).free
    what = f"{folder}: {free / 1024**3:.1f} GiB free"
    if free < SMALLEST_FREE_BYTES:
        return bad(subject, what, "make room, or set DIVISI_WORK_DIR to another disk")
    if free < COPIES_OF_A_RECORDING * max_upload_bytes:
        needed = COPIES_OF_A_RECORDING * max_upload_bytes / 1024**3
        return doubtful(subject, what, f"the largest upload may need {needed:.0f} GiB; or lower its limit")
    return good(subject, what)


def _versions() -> Iterator[Finding]:
    found = [f"divisi {version(DISTRIBUTION)}", f"Python {platform.python_version()}"]
    for line in requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield bad("versions", f"{requirement.name} is missing", "install divisi again: `pip install divisi`")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            what = f"{requirement.name} {installed} is installed; divisi is made for {requirement.specifier}"
            yield bad("versions", what, f"pip install '{requirement}'")
        found.append(f"{requirement.name} {installed}")
    yield good("versions", ", ".join(found))
