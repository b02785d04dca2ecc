"""A recording on disk → stem files on disk, in flat memory: decode, separate, encode, and measure what was written.

The last step before storage on the path *upload → job → worker → engine → stems*; the worker and the command line
both deliver through it.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.encode import AudioEncoder, StemFormat, check_stem_format, open_encoder
from divisi.audio.waveform import Samples
from divisi.separation.options import SeparationOptions
from divisi.separation.separator import OnProgress, SeparatedBlock, Separator

RESIDUAL = "residual"

# A second or so of audio at a time: long enough that calls cost nothing, short enough that nobody notices the memory.
_BLOCK_LENGTH = 65_536


@dataclass(frozen=True)
class StemFile:
    """One written stem. `peak` is that of the samples given to the encoder, full scale 1."""

    name: str
    path: Path
    bytes: int
    sha256: str
    is_residual: bool
    peak: float
    clipped_samples: int


@dataclass(frozen=True)
class Delivery:
    """What `separate_file` made.

    Attributes:
        num_samples: of the recording and of every stem.
        conservation_dbfs: peak of recording − (stems + residual) as given to the encoders, in dBFS, −inf when equal;
            None when the residual was not asked for.
        real_time_factor: seconds of work for one second of audio.
    """

    files: tuple[StemFile, ...]
    sample_rate: int
    num_channels: int
    num_samples: int
    conservation_dbfs: float | None
    real_time_factor: float


def separate_file(
    path: Path,
    out_dir: Path,
    separator: Separator,
    stem_format: StemFormat,
    options: SeparationOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Delivery:
    """Separates the recording at `path` into `out_dir/<stem>.<extension>`; when it fails, it leaves no file.

    Raises:
        InputError: the recording cannot be decoded, or not be separated or written as asked.
        ModelError: the engine failed.
    """
    options = options or SeparationOptions()
    began = time.monotonic()
    names = [separator.card.stems[place] for place in options.indices(separator.card.stems)]
    if options.include_residual:
        names.append(RESIDUAL)
    paths = [out_dir / f"{name}{stem_format.extension}" for name in names]
    with open_decoder(path) as decoder:
        facts = decoder.facts
        check_stem_format(stem_format, facts.sample_rate, facts.num_channels)
        blocks = separator.separate(
            decoder.blocks(_BLOCK_LENGTH),
            facts.sample_rate,
            facts.num_channels,
            facts.num_samples,
            on_progress,
            options,
        )
        out_dir.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as stack:
                encoders = [
                    stack.enter_context(open_encoder(stem, stem_format, facts.sample_rate, facts.num_channels))
                    for stem in paths
                ]
                meter = _Meter(len(names), options.include_residual)
                for block in blocks:
                    meter.write(block, encoders)
        except BaseException:
            for stem in paths:
                stem.unlink(missing_ok=True)
            raise
    files = tuple(
        StemFile(name, stem, stem.stat().st_size, _sha256(stem), name == RESIDUAL, float(peak), encoder.clipped_samples)
        for name, stem, peak, encoder in zip(names, paths, meter.peaks, encoders, strict=True)
    )
    seconds = meter.num_samples / facts.sample_rate
    return Delivery(
        files,
        facts.sample_rate,
        facts.num_channels,
        meter.num_samples,
        meter.conservation_dbfs if options.include_residual else None,
        (time.monotonic() - began) / seconds,
    )


class _Meter:
    """Hands blocks to the encoders and keeps what the report says about them."""

    def __init__(self, num_files: int, has_residual: bool) -> None:
        self._has_residual = has_residual
        self._largest_error = 0.0
        self.peaks = np.zeros(num_files, np.float32)
        self.num_samples = 0

    @property
    def conservation_dbfs(self) -> float:
        return float(20 * np.log10(self._largest_error)) if self._largest_error else float("-inf")

    def write(self, block: SeparatedBlock, encoders: list[AudioEncoder]) -> None:
        if not block.residual.shape[-1]:
            return
        written: list[Samples] = [*block.stems, block.residual] if self._has_residual else list(block.stems)
        for place, (samples, encoder) in enumerate(zip(written, encoders, strict=True)):
            encoder.write(samples)
            self.peaks[place] = max(self.peaks[place], np.abs(samples).max())
        self.num_samples += block.residual.shape[-1]
        if self._has_residual:
            error = block.mixture - np.sum(written, axis=0, dtype=np.float64)
            self._largest_error = max(self._largest_error, float(np.abs(error).max()))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
