"""The open files of one delivery: each block of the result goes into all of them, and what they hold is added up. They
are written in a scratch folder, and moved to their own when all are complete.

Previews are at 32 kHz, which is all that so few bits can hold, and makes every frame of MP3 as long as the next, in
samples and in bytes: 36 ms, 432 bytes of stereo. So a page asks for the bytes of the seconds that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from divisi.audio.encode import AudioEncoder
from divisi.audio.mp3 import QUICK, Mp3Writer
from divisi.audio.recording import Samples, StreamResampler, as_held
from divisi.contract.card import RESIDUAL, RESYNTHESIS, ModelCard
from divisi.contract.files import FILES, StemFormat, media_type_of
from divisi.delivery.pitch_files import PitchFiles, pitch_names
from divisi.delivery.scores import ConfidenceResult, ReferenceScore, ReferenceScores
from divisi.delivery.views import ViewFiles, true_source_name, view_names
from divisi.separation.separator import SeparatedBlock, SeparationOptions, rest_of
from divisi.whole_files import Destination, digests_of

# Said of files that add up exactly, in place of minus infinity, which JSON cannot hold; no float32 sample is as small.
_EXACT_DBFS = -400.0
PREVIEW_RATE = 32_000
# Of previews, by channels. Ten minutes of stereo in five files take 36 MB.
_KBPS = {1: 64, 2: 96}


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


@dataclass
class Energies:
    """Where the sound of a recording went.

    Attributes:
        music: of the recording without its offset, squares added up.
        residual: of what no stem holds, likewise without offset.
        last_stem: of the last of the stems.
        largest_offset: full scale 1.
    """

    music: float = 0.0
    residual: float = 0.0
    last_stem: float = 0.0
    largest_offset: float = 0.0

    def add(self, block: SeparatedBlock, recording: Samples) -> None:
        """Takes the next block, made of the recording's music, and the recording itself, float32 (C, n)."""
        self.music += float(np.square(block.mixture, dtype=np.float64).sum())
        self.residual += float(np.square(block.residual, dtype=np.float64).sum())
        self.last_stem += float(np.square(block.stems[-1:], dtype=np.float64).sum())
        self.largest_offset = max(self.largest_offset, peak_of(recording - block.mixture))


@dataclass(frozen=True)
class FilesBeside:
    """What stands beside the audio: paths of previews, pitch files and views, and what was found of the stems."""

    previews: Sequence[Path] = ()
    pitch: Sequence[Path] = ()
    views: Sequence[Path] = ()
    scores: tuple[ReferenceScore, ...] = ()
    confidence: ConfidenceResult | None = None


@dataclass
class DeliveryFiles:
    """What one delivery writes; what was not asked for is None.

    Attributes:
        largest_difference: between the recording and what the files of stems and residual hold together, so far.
        energies: of the recording and what is no stem's.
    """

    stems: list[StemWriter]
    residual: StemWriter | None = None
    resynthesis: StemWriter | None = None
    previews: PreviewFiles | None = None
    pitch: PitchFiles | None = None
    views: ViewFiles | None = None
    scores: ReferenceScores | None = None
    largest_difference: float = field(default=0.0, init=False)
    energies: Energies = field(default_factory=Energies, init=False)

    @property
    def audio(self) -> list[StemWriter]:
        """The stems, and the residual at the end."""
        return self.stems if self.residual is None else [*self.stems, self.residual]

    def write(self, block: SeparatedBlock, recording: Samples) -> None:
        """Takes the next block, made of the recording's music, and the recording itself, float32 (C, n)."""
        rest = rest_of(recording, block.stems)
        self.energies.add(block, recording)
        total = np.zeros(recording.shape)
        cut = np.zeros(recording.shape)
        for writer, samples in zip(self.stems, block.stems, strict=True):
            held = writer.write(samples)
            total += held
            # What a stem's format cuts off at full scale goes into the residual: the files add up all the same.
            cut += np.where(np.abs(samples) > 1, samples - held, 0)
        if self.residual is not None:
            total += self.residual.write((rest + cut).astype(np.float32))
            self.largest_difference = max(self.largest_difference, peak_of(total - recording))
        if self.previews is not None:
            self.previews.write([*block.stems, *([rest] if self.residual else [])])
        beside = {}
        if self.resynthesis is not None and block.resynthesis is not None:
            self.resynthesis.write(block.resynthesis)
            beside[RESYNTHESIS] = block.resynthesis
        if self.pitch is not None and block.f0 is not None:
            self.pitch.write(block.f0, block.voicing)
            self.pitch.write_stems(block.stems)
        if self.scores is not None:
            references = self.scores.push(block.mixture, block.stems)
            beside |= {true_source_name(stem): samples for stem, samples in references.items()}
        if self.views is not None:
            self.views.write(replace(block, mixture=recording, residual=rest), beside)

    def finish(self) -> FilesBeside:
        """Ends what is not audio, after the last block."""
        return FilesBeside(
            self.previews.finish() if self.previews else (),
            self.pitch.finish() if self.pitch else (),
            self.views.paths if self.views else (),
            self.scores.finish() if self.scores else (),
            self.views.finish() if self.views else None,
        )

    @property
    def conservation_dbfs(self) -> float:
        """Peak of the difference, see `SeparatedFile`."""
        difference = self.largest_difference
        return max(20 * math.log10(difference), _EXACT_DBFS) if difference else _EXACT_DBFS


class PreviewFiles:
    """Previews: stems and residual once more as small files, which a page plays before it has the stems. A context
    manager.

    Args:
        folder: where to create them.
        tracks: names of the stems, and of the residual where it is one, K.
        sample_rate: of what is written, Hz.
        num_channels: C of it; more than two become one.
    """

    def __init__(self, folder: Path, tracks: Sequence[str], sample_rate: int, num_channels: int) -> None:
        self.paths = [folder / preview_name(track) for track in tracks]
        self._num_channels = num_channels if num_channels <= 2 else 1
        self._resampler = StreamResampler(len(tracks) * self._num_channels, sample_rate, PREVIEW_RATE)
        kbps = _KBPS[self._num_channels]
        with ExitStack() as opened:
            self._writers = [
                opened.enter_context(Mp3Writer(path, PREVIEW_RATE, self._num_channels, kbps, QUICK))
                for path in self.paths
            ]
            self._opened = opened.pop_all()

    def write(self, tracks: Sequence[Samples]) -> None:
        """Takes the next block of all tracks, float32 (K, C, n)."""
        folded = np.stack(tracks)
        if folded.shape[1] > 2:
            folded = folded.mean(axis=1, keepdims=True)
        self._encode(self._resampler.push(np.concatenate(folded)))

    def finish(self) -> list[Path]:
        """Writes what is left, and completes the files."""
        none_left = np.zeros((len(self.paths) * self._num_channels, 0), np.float32)
        self._encode(self._resampler.push(none_left, is_last=True))
        self._opened.close()
        return self.paths

    def _encode(self, samples: Samples) -> None:
        tracks = samples.reshape(len(self._writers), self._num_channels, -1)
        for writer, track in zip(self._writers, tracks, strict=True):
            writer.write(track)

    def __enter__(self) -> PreviewFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def preview_name(track: str) -> str:
    """Name of a track's preview."""
    return FILES["preview"].name_at(track)


def file_names(
    options: SeparationOptions,
    card: ModelCard,
    names: Sequence[str],
    encoding: StemFormat,
    f0_hop_seconds: float | None,
) -> list[str]:
    """All files that a request will give."""
    tracks = [*names, *([RESIDUAL] if options.include_residual else [])]
    audio = [*tracks, *([RESYNTHESIS] if options.include_resynthesis and RESYNTHESIS in card.output_names else [])]
    previews = [preview_name(name) for name in tracks if options.include_previews]
    voices = [name for name in names if name != card.accompaniment]
    pitch = pitch_names(voices) if options.include_pitch and f0_hop_seconds is not None else []
    return [*(f"{name}{encoding.extension}" for name in audio), *previews, *pitch, *view_names(options, tracks)]
