"""Files of one separation: written in a scratch folder, described, and moved to their own when all are complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from divisi.audio.encode import AudioEncoder, StemFormat
from divisi.audio.recording import Samples, as_held
from divisi.contract.files import media_type_of
from divisi.separation.destination import Destination
from divisi.whole_files import digests_of

RESIDUAL, RESYNTHESIS = "residual", "resynthesis"


@dataclass(frozen=True)
class DeliveredFile:
    """One file of a delivery.

    Attributes:
        name: of the stem, `residual`, `resynthesis`, or a file's own name such as `pitch.json`.
        path: where it lies.
        bytes: size of the file.
        sha256: of its bytes, hexadecimal.
        crc32: of its bytes.
        media_type: of the format.
    """

    name: str
    path: Path
    bytes: int
    sha256: str
    crc32: int
    media_type: str


@dataclass(frozen=True)
class StemFile(DeliveredFile):
    """One delivered file of audio, `<out_dir>/<name><extension>`.

    Attributes:
        is_residual: True for the residual, what no delivered stem holds.
        peak: largest absolute sample before encoding, full scale 1.
        clipped_samples: how many lay beyond full scale and were cut there.
    """

    is_residual: bool
    peak: float
    clipped_samples: int


class StemWriter:
    """One stem on its way into a file.

    Args:
        name: of the stem.
        path: of the unfinished file.
        encoder: writes it; whoever opened it closes it.
        encoding: its format.
    """

    def __init__(self, name: str, path: Path, encoder: AudioEncoder, encoding: StemFormat) -> None:
        self._name = name
        self._path = path
        self._encoder = encoder
        self._format = encoding
        self._peak = 0.0

    def write(self, samples: Samples) -> NDArray[np.float64]:
        """Takes float32 (C, n); gives what the file holds of it, as far as the format is lossless: float64 (C, n)."""
        self._encoder.write(samples)
        self._peak = max(self._peak, peak_of(samples))
        return as_held(samples, self._format.bits)

    def publish(self, destination: Destination) -> StemFile:
        """Moves the closed file to its place."""
        return StemFile(
            **_moved(self._path, destination),
            name=self._name,
            media_type=self._format.media_type,
            is_residual=self._name == RESIDUAL,
            peak=self._peak,
            clipped_samples=self._encoder.clipped_samples,
        )


def publish(path: Path, destination: Destination) -> DeliveredFile:
    """Moves a closed file that is no audio to its place."""
    return DeliveredFile(**_moved(path, destination), name=path.name, media_type=media_type_of(path.name))


def peak_of(samples: NDArray[np.floating]) -> float:
    """Largest absolute sample; 0 of none."""
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0)))


def _moved(path: Path, destination: Destination) -> dict[str, Any]:
    digests = digests_of(path)
    path = destination.publish(path, digests.sha256)
    return {"path": path, "bytes": path.stat().st_size, "sha256": digests.sha256, "crc32": digests.crc32}
