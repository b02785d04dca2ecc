"""A recording of the quintet through the whole service: eight mono files up, queue, worker, one ZIP file down.

    python benchmarks/quintet_service.py FOLDER [--iterations 100]

FOLDER holds a mono file for each microphone; in the order of their names the first five are the spots of flute,
clarinet, cello, violin 1 and violin 2. Everything is started on this machine with an empty data folder and stopped
again. Prints how long it took, how far the five stems together are from the recording, and how each spot microphone's
power is shared by the stems.
Bars: within -90 dBFS, and at each spot the greatest share in the stem of its instrument. Exits with 1 when one is
missed.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import httpx
import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console

from divisi.client import Client
from divisi.settings import load_settings
from divisi.standalone import Standalone

MODEL = "fastmnmf2-quintet"
INSTRUMENTS = ("flute", "clarinet", "cello", "violin_1", "violin_2")
SUM_BAR_DBFS = -90.0
DOWNLOAD_SECONDS = 120

Samples = NDArray[np.float32]
console = Console(width=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    files = sorted(path for path in options.folder.iterdir() if path.suffix in (".wav", ".flac"))
    os.environ["DIVISI_PORT"] = str(options.port)
    with (
        tempfile.TemporaryDirectory(prefix="divisi-quintet-") as data,
        Standalone(load_settings(), Path(data)) as machine,
        Client(machine.url) as client,
    ):
        job = client.submit(files, model=MODEL, stem_format="wav32f", num_iterations=options.iterations)
        job = client.wait(job["id"])
        archive = httpx.get(f"{machine.url}{job['links']['archive']}", timeout=DOWNLOAD_SECONDS).content
    report = job["report"]
    assert report is not None
    seconds = job["input"]["duration_seconds"]
    console.print(f"{job['state']}: {len(files)} files of {seconds:.1f} s, {len(archive) / 1e6:.1f} MB of ZIP")
    console.print(f"{options.iterations} iterations and those at the spots: {report['wall_seconds']:.0f} s")
    recording = np.stack([soundfile.read(path, dtype="float32")[0] for path in files])
    stems = read_archive(archive)
    distance = np.abs(np.sum([stems[name] for name in INSTRUMENTS], axis=0, dtype=np.float64) - recording).max()
    distance_dbfs = 20 * np.log10(max(distance, 1e-20))
    shares = np.array([[np.square(stems[name][spot]).sum() for spot in range(5)] for name in INSTRUMENTS])
    shares /= shares.sum(axis=0)
    console.print("share of each spot's power in each stem:")
    for name, row in zip(INSTRUMENTS, shares, strict=True):
        console.print(f"  {name:10} " + " ".join(f"{share:5.2f}" for share in row))
    is_whole = distance_dbfs <= SUM_BAR_DBFS
    is_in_place = shares.argmax(axis=0).tolist() == list(range(5))
    console.print(f"sum of the stems - recording {distance_dbfs:.1f} dBFS, bar {SUM_BAR_DBFS:.0f}: {met(is_whole)}")
    console.print(f"each instrument in the stem of its microphone: {met(is_in_place)}")
    return 0 if is_whole and is_in_place else 1


def read_archive(archive: bytes) -> dict[str, Samples]:
    """Stems and residual by name, (C, T)."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        for entry in content.namelist():
            if entry.endswith(".wav"):
                samples, _ = soundfile.read(io.BytesIO(content.read(entry)), dtype="float32")
                found[Path(entry).stem] = samples.T
    return found


def met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
