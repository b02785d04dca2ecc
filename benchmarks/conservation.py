"""Stems and residual must add up to the recording, sample for sample, in every shape and format.

    python benchmarks/conservation.py [--model chorus]

Made from nothing, separated file to files, read back with another reader than the service's own. Exits with 1 when a
sum differs by more than the bar, or a file has another length, rate or number of channels than the recording.

The bar is -90 dBFS for floats. Fixed-point files of 24 bit are held to what rounding alone explains: half a step for
each of the S stems and the residual, (S + 1) · 2⁻²⁴, and one rounding of the residual to float32 before, 2⁻²⁵.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from divisi.audio.encode import open_encoder
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import SeparatedFile, separate_file
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, batch_size_for, open_engine
from divisi.separation.separator import Separator
from divisi.settings import load_settings

FLOAT_BAR_DBFS = -90.0
_SILENCE_DBFS = -400.0


@dataclass(frozen=True)
class Shape:
    """One recording to be made: `peak` at full scale 1."""

    title: str
    sample_rate: int
    num_channels: int
    num_samples: int
    peak: float = 0.5


SHAPES = (
    Shape("16 kHz mono", 16_000, 1, 320_000),
    Shape("16 kHz mono, odd length", 16_000, 1, 100_003),
    Shape("44.1 kHz stereo", 44_100, 2, 882_000),
    Shape("44.1 kHz stereo, odd length", 44_100, 2, 400_001),
    Shape("44.1 kHz stereo, full scale", 44_100, 2, 300_000, peak=1.0),
    Shape("48 kHz 5.1", 48_000, 6, 720_000),
    Shape("22.05 kHz mono, odd length", 22_050, 1, 99_999),
    Shape("8 kHz stereo", 8_000, 2, 80_000),
    Shape("44.1 kHz stereo, 0.1 s", 44_100, 2, 4_410),
    Shape("16 kHz mono, 0.1 s", 16_000, 1, 1_600),
    Shape("44.1 kHz stereo, one sample", 44_100, 2, 1),
    Shape("16 kHz mono, one sample", 16_000, 1, 1),
)
FORMATS = (StemFormat.WAV32F, StemFormat.WAV24, StemFormat.FLAC)


def make_recording(shape: Shape) -> np.ndarray:
    """Four harmonic voices, placed differently in every channel, and noise: float32 (C, T)."""
    generator = np.random.default_rng(2)
    seconds = np.arange(shape.num_samples) / shape.sample_rate
    voices = [
        sum(np.sin(2 * np.pi * n * hz * seconds + 4 * np.sin(2 * np.pi * 5 * seconds)) / n for n in range(1, 9))
        for hz in (110.0, 196.0, 330.0, 523.0)
    ]
    samples = generator.uniform(0.2, 1, (shape.num_channels, 4)) @ np.stack(voices)
    samples += 0.1 * generator.standard_normal(samples.shape)
    return (shape.peak * samples / np.abs(samples).max()).astype(np.float32)


def largest_difference(recording: np.ndarray, delivery: SeparatedFile, shape: Shape) -> float:
    """Peak of stems + residual - recording, from the written files; NaN when one has another shape."""
    total = np.zeros(recording.shape)
    for stem in delivery.files:
        samples, sample_rate = soundfile.read(stem.path, always_2d=True)
        if (sample_rate, samples.shape) != (shape.sample_rate, (shape.num_samples, shape.num_channels)):
            return math.nan
        total += samples.T
    return float(np.abs(total - recording).max())


def bar_dbfs(stem_format: StemFormat, num_files: int) -> float:
    """What the difference may be, see above."""
    return FLOAT_BAR_DBFS if stem_format == StemFormat.WAV32F else dbfs(num_files * 2.0**-24 + 2.0**-25)


def dbfs(amplitude: float) -> float:
    """-400 for nothing; NaN stays NaN."""
    return 20 * math.log10(amplitude) if amplitude != 0 else _SILENCE_DBFS


def main() -> int:
    settings = load_settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=settings.default_model)
    options = parser.parse_args()
    bundle = BundleStore(settings.model_store).get(options.model)
    engine = open_engine(settings.engine, bundle, EngineOptions(settings.device, num_threads=1))
    separator = Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size))

    table = Table(title=f"{options.model}: stems + residual - recording, peak in dBFS")
    table.add_column("recording")
    for heading in ("samples", "format", "difference", "bar", ""):
        table.add_column(heading, justify="right")
    all_met = True
    for shape in SHAPES:
        recording = make_recording(shape)
        for stem_format in FORMATS:
            with tempfile.TemporaryDirectory(prefix="divisi-sums-") as folder:
                path = Path(folder) / "recording.wav"
                with open_encoder(path, StemFormat.WAV32F, shape.sample_rate, shape.num_channels) as encoder:
                    encoder.write(recording)
                delivery = separate_file(path, Path(folder) / "stems", separator, stem_format)
                difference = dbfs(largest_difference(recording, delivery, shape))
            bar = bar_dbfs(stem_format, len(delivery.files))
            is_met = difference <= bar
            all_met &= is_met
            figures = (str(shape.num_samples), stem_format, f"{difference:.1f}", f"{bar:.1f}")
            table.add_row(shape.title, *figures, "met" if is_met else "MISSED")
    Console(width=110).print(table)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
