"""The open files of one delivery: each block of the result goes into all of them, and what they hold is added up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from divisi.audio.recording import Samples
from divisi.separation.pitch_files import PitchFiles
from divisi.separation.previews import PreviewFiles
from divisi.separation.reference_scores import ReferenceScore, ReferenceScores
from divisi.separation.separator import SeparatedBlock
from divisi.separation.stem_file import RESYNTHESIS, StemWriter, peak_of
from divisi.separation.views import ViewFiles, ViewPaths, true_source_name

# Said of files that add up exactly, in place of minus infinity, which JSON cannot hold; no float32 sample is as small.
_EXACT_DBFS = -400.0


@dataclass
class Energies:
    """Where the sound of a recording went.

    Attributes:
        music: of the recording without its offset, squares added up.
        residual: of what no stem holds, likewise without offset.
        largest_offset: full scale 1.
    """

    music: float = 0.0
    residual: float = 0.0
    largest_offset: float = 0.0

    def add(self, block: SeparatedBlock, recording: Samples) -> None:
        """Takes the next block, made of the recording's music, and the recording itself, float32 (C, n)."""
        self.music += float(np.square(block.mixture, dtype=np.float64).sum())
        self.residual += float(np.square(block.residual, dtype=np.float64).sum())
        self.largest_offset = max(self.largest_offset, peak_of(recording - block.mixture))


@dataclass(frozen=True)
class FilesBeside:
    """What stands beside the audio: paths of previews and pitch files, scores against true sources, views."""

    previews: Sequence[Path] = ()
    pitch: Sequence[Path] = ()
    scores: tuple[ReferenceScore, ...] = ()
    views: ViewPaths | None = None


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
        rest = (recording - block.stems.sum(axis=0, dtype=np.float64)).astype(np.float32)
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
        if self.scores is not None:
            references = self.scores.push(block.mixture, block.stems)
            beside |= {true_source_name(stem): samples for stem, samples in references.items()}
        if self.views is not None:
            self.views.write(SeparatedBlock(recording, block.stems, rest, block.f0), beside)

    def finish(self) -> FilesBeside:
        """Ends what is not audio, after the last block."""
        return FilesBeside(
            self.previews.finish() if self.previews else (),
            self.pitch.finish() if self.pitch else (),
            self.scores.finish() if self.scores else (),
            self.views.finish() if self.views else None,
        )

    @property
    def conservation_dbfs(self) -> float:
        """Peak of the difference, see `SeparatedFile`."""
        difference = self.largest_difference
        return max(20 * math.log10(difference), _EXACT_DBFS) if difference else _EXACT_DBFS
