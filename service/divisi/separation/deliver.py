"""From one file to its stems' files: decode → separate → encode, block by block, and the figures that prove it.

Called by the worker (`worker/process_job.py`) and by `divisi separate`; both deliver exactly this.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from divisi.audio.decode import open_decoder
from divisi.audio.encode import AudioEncoder, StemFormat, check_stem_format, open_encoder
from divisi.audio.waveform import Samples
from divisi.separation.options import SeparationOptions
from divisi.separation.pitch_file import PitchFile
from divisi.separation.separator import OnProgress, SeparatedBlock, Separator
from divisi.stage_clock import StageClock

# Samples decoded at a time: a second or two.
_BLOCK_LENGTH = 1 << 16
_RESIDUAL = "residual"
# Said of stems that add up exactly, in place of minus infinity, which JSON cannot hold; no float32 sample is as small.
_EXACT_DBFS = -400.0
# Formats that cannot hold samples beyond full scale.
_FIXED_POINT = frozenset({StemFormat.WAV16, StemFormat.WAV24, StemFormat.FLAC})


@dataclass(frozen=True)
class StemFile:
    """One delivered file of audio.

    Attributes:
        name: of the stem; `residual` for what no delivered stem holds.
        path: `<out_dir>/<name><extension>`.
        bytes: size of the file.
        sha256: of its bytes, hexadecimal.
        media_type: of the format.
        is_residual: True for the residual.
        peak: largest absolute sample before encoding, full scale 1.
        clipped_samples: how many lay beyond full scale and were cut there.
    """

    name: str
    path: Path
    bytes: int
    sha256: str
    media_type: str
    is_residual: bool
    peak: float
    clipped_samples: int


@dataclass(frozen=True)
class Delivery:
    """What was made of one recording.

    Attributes:
        files: stems in the model's order, the residual last.
        f0_path: CSV of the pitch tracks, where they were asked for and the model has them.
        sample_rate: of the recording and of every file, Hz.
        num_channels: likewise.
        num_samples: likewise, counted.
        conservation_dbfs: peak of (stems + residual - recording) as floats before encoding; -400 when they are equal,
            None when the residual was not asked for.
        wall_seconds: from opening the recording to closing the last file.
        real_time_factor: wall seconds for one second of audio.
    """

    files: tuple[StemFile, ...]
    f0_path: Path | None
    sample_rate: int
    num_channels: int
    num_samples: int
    conservation_dbfs: float | None
    wall_seconds: float
    real_time_factor: float


def separate_file(
    path: Path,
    out_dir: Path,
    separator: Separator,
    stem_format: StemFormat,
    options: SeparationOptions | None = None,
    on_progress: OnProgress | None = None,
    clock: StageClock | None = None,
) -> Delivery:
    """Separates a recording into files beside each other; when it fails, it leaves none.

    Args:
        path: the recording, any supported format, rate and number of channels.
        out_dir: folder for `<stem><extension>`, made if missing; files of the same names are replaced.
        separator: the opened model.
        stem_format: how to encode.
        options: what to deliver; default all stems and the residual.
        on_progress: called with rising numbers in 0..1.
        clock: told how long `decode`, `separate` and `encode` took.

    Raises:
        InputError: the recording, the wanted stems or the format cannot be had.
        ModelError: the model failed.
    """
    began = time.monotonic()
    options = options or SeparationOptions()
    clock = clock or StageClock()
    names = [separator.card.stems[place] for place in options.indices(separator.card.stems)]
    with open_decoder(path) as decoder:
        sample_rate, num_channels = decoder.facts.sample_rate, decoder.facts.num_channels
        check_stem_format(stem_format, sample_rate, num_channels)
        mixture = clock.each("decode", decoder.blocks(_BLOCK_LENGTH))
        blocks = separator.separate(mixture, sample_rate, num_channels, decoder.facts.num_samples, on_progress, options)
        out_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".unfinished-", dir=out_dir) as scratch, ExitStack() as open_files:

            def open_stem(name: str) -> _StemWriter:
                stem_path = Path(scratch) / f"{name}{stem_format.extension}"
                encoder = open_encoder(stem_path, stem_format, sample_rate, num_channels)
                return _StemWriter(name, stem_path, open_files.enter_context(encoder), stem_format)

            stems = [open_stem(name) for name in names]
            residual = open_stem(_RESIDUAL) if options.include_residual else None
            f0 = None
            if options.include_f0 and separator.f0_hop_seconds is not None:
                f0_path = Path(scratch) / "f0.csv"
                f0 = open_files.enter_context(PitchFile(f0_path, names, separator.f0_hop_seconds))
            with clock.stage("encode"):
                conservation = _write(clock.each("separate", blocks), stems, residual, f0)
                open_files.close()
            wall_seconds = time.monotonic() - began
            writers = stems if residual is None else [*stems, residual]
            return Delivery(
                files=tuple(writer.publish(out_dir) for writer in writers),
                f0_path=None if f0 is None else f0_path.replace(out_dir / f0_path.name),
                sample_rate=sample_rate,
                num_channels=num_channels,
                num_samples=decoder.num_decoded,
                conservation_dbfs=None if residual is None else _dbfs(conservation),
                wall_seconds=wall_seconds,
                real_time_factor=wall_seconds * sample_rate / decoder.num_decoded,
            )


def _write(
    blocks: Iterable[SeparatedBlock],
    stems: Sequence[_StemWriter],
    residual: _StemWriter | None,
    f0: PitchFile | None,
) -> float:
    """Writes all blocks; gives the largest difference between the recording and the sum of stems and residual."""
    largest_difference = 0.0
    for block in blocks:
        # What a stem's format cuts off at full scale goes into the residual: the files add up all the same.
        rest = block.residual
        for writer, samples in zip(stems, block.stems, strict=True):
            rest = rest + writer.write(samples)
        if residual is not None:
            residual.write(rest)
        if f0 is not None and block.f0 is not None:
            f0.write(block.f0)
        total = block.stems.sum(axis=0, dtype=np.float64) + block.residual
        largest_difference = max(largest_difference, _peak(total - block.mixture))
    return largest_difference


class _StemWriter:
    """One stem on its way into a file."""

    def __init__(self, name: str, path: Path, encoder: AudioEncoder, stem_format: StemFormat) -> None:
        self._name = name
        self._path = path
        self._encoder = encoder
        self._format = stem_format
        self._peak = 0.0

    def write(self, samples: Samples) -> Samples | float:
        """Takes float32 (C, n); gives what lies beyond full scale and is cut off by the format, 0 when nothing does."""
        self._encoder.write(samples)
        peak = _peak(samples)
        self._peak = max(self._peak, peak)
        return samples - samples.clip(-1, 1) if peak > 1 and self._format in _FIXED_POINT else 0.0

    def publish(self, out_dir: Path) -> StemFile:
        """Moves the closed file to its place."""
        path = self._path.replace(out_dir / self._path.name)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StemFile(
            name=self._name,
            path=path,
            bytes=path.stat().st_size,
            sha256=sha256,
            media_type=self._format.media_type,
            is_residual=self._name == _RESIDUAL,
            peak=self._peak,
            clipped_samples=self._encoder.clipped_samples,
        )


def _peak(samples: NDArray[np.floating]) -> float:
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0)))


def _dbfs(amplitude: float) -> float:
    return max(20 * math.log10(amplitude), _EXACT_DBFS) if amplitude else _EXACT_DBFS
