"""Memory and speed on long recordings: stereo at 44.1 kHz, file to stems, the peak of memory and the real-time factor.

    python benchmarks/long_recording.py [--minutes 5 60] [--model chorus] [--format wav24]

Every recording is separated in a fresh process with one thread. Exits with 1 when the longest recording takes over 10 %
more memory than the shortest. Reads /proc, so Linux only. Needs 80 MB of disk for every minute of the longest one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from divisi.audio.encode import open_encoder
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import separate_file
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, batch_size_for, open_engine
from divisi.separation.separator import Separator
from divisi.settings import load_settings

SAMPLE_RATE = 44_100
MAX_PEAK_RATIO = 1.10
_LOOP_SECONDS = 30
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


def write_recording(path: Path, minutes: float) -> None:
    """Chords of four voices, a new one every second, under noise; 16 bit, written second by second."""
    generator = np.random.default_rng(1)
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    chords = []
    for _ in range(_LOOP_SECONDS):
        pitches_hz = np.array([98, 147, 220, 330]) * 2 ** (generator.integers(0, 12, 4) / 12)
        voices = [sum(np.sin(2 * np.pi * n * hz * seconds) / n for n in range(1, 9)) for hz in pitches_hz]
        places = generator.uniform(0.02, 0.1, (2, 4))
        chords.append((places @ np.stack(voices)).astype(np.float32))
    with open_encoder(path, StemFormat.WAV16, SAMPLE_RATE, 2) as encoder:
        for second in range(round(60 * minutes)):
            noise = generator.standard_normal((2, SAMPLE_RATE), np.float32)
            encoder.write(chords[second % _LOOP_SECONDS] + np.float32(0.01) * noise)


def separate_and_measure(path: Path, out: Path, model: str, stem_format: StemFormat) -> dict[str, float]:
    """Separates in this process; gives its figures."""
    settings = load_settings()
    bundle = BundleStore(settings.model_store).get(model)
    engine = open_engine(settings.engine, bundle, EngineOptions(settings.device, num_threads=1))
    separator = Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size))
    opened_mib = peak_mib()
    began = time.process_time()
    delivery = separate_file(path, out, separator, stem_format)
    cpu_seconds = time.process_time() - began
    return {
        "opened_mib": opened_mib,
        "peak_mib": peak_mib(),
        "wall": delivery.real_time_factor,
        "cpu": cpu_seconds * delivery.sample_rate / delivery.num_samples,
        "conservation_dbfs": delivery.conservation_dbfs,
    }


def peak_mib() -> float:
    """Most memory that this process has held. (getrusage would begin with that of the process that started it.)"""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def run_case(minutes: float, model: str, stem_format: StemFormat) -> dict[str, float]:
    """Makes a recording and has it separated by a fresh process."""
    with tempfile.TemporaryDirectory(prefix="divisi-long-") as folder:
        path = Path(folder) / "recording.wav"
        write_recording(path, minutes)
        command = [sys.executable, __file__, "--case", str(path), "--model", model, "--format", stem_format]
        done = subprocess.run(command, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 60])
    parser.add_argument("--model", default=load_settings().default_model)
    parser.add_argument("--format", type=StemFormat, choices=list(StemFormat), default=StemFormat.WAV24)
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        figures = separate_and_measure(options.case, options.case.parent / "stems", options.model, options.format)
        print(json.dumps(figures))
        return 0

    table = Table(title=f"{options.model}, stereo {SAMPLE_RATE} Hz to {options.format}, one thread")
    for heading in ("minutes", "opened MiB", "peak MiB", "real-time factor", "of CPU time", "conservation dBFS"):
        table.add_column(heading, justify="right")
    peaks = []
    for minutes in sorted(options.minutes):
        figures = run_case(minutes, options.model, options.format)
        peaks.append(figures["peak_mib"])
        memory = (f"{figures['opened_mib']:.0f}", f"{figures['peak_mib']:.0f}")
        speed = (f"{figures['wall']:.3f}", f"{figures['cpu']:.3f}")
        table.add_row(f"{minutes:g}", *memory, *speed, f"{figures['conservation_dbfs']:.0f}")
    console = Console()
    console.print(table)
    ratio = peaks[-1] / peaks[0]
    is_met = ratio <= MAX_PEAK_RATIO
    console.print(
        f"longest to shortest, peak memory: {ratio:.3f}, bar {MAX_PEAK_RATIO:.2f}: {'met' if is_met else 'MISSED'}"
    )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
