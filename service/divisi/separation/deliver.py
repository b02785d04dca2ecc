"""From one file to its stems' files: decode → separate → encode, block by block, and the figures that prove it.

Called by the worker (`worker/process_job.py`) and by `divisi separate`; both deliver exactly this.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.encode import StemFormat, check_stem_format, open_encoder
from divisi.audio.facts import AudioLimits
from divisi.bundles.card import AUTO
from divisi.bundles.roster import check_voices
from divisi.separation.confidence import ConfidenceResult
from divisi.separation.fitted_separator import FittedSeparator
from divisi.separation.model_input import model_channels
from divisi.separation.options import SeparationOptions
from divisi.separation.pitch_files import MEDIA_TYPES, PitchFiles
from divisi.separation.reference_scores import ReferenceScore, ReferenceScores
from divisi.separation.separator import OnProgress, SeparatedBlock, Separator
from divisi.separation.stem_file import (
    RESIDUAL,
    RESYNTHESIS,
    DeliveredFile,
    StemFile,
    StemWriter,
    check_places,
    peak_of,
    publish,
)
from divisi.separation.views import ViewFiles, true_source_name
from divisi.stage_clock import StageClock

# Samples decoded at a time: a second or two.
_BLOCK_LENGTH = 1 << 16
# Said of stems that add up exactly, in place of minus infinity, which JSON cannot hold; no float32 sample is as small.
_EXACT_DBFS = -400.0
VIEW_TYPES = {".json": "application/json", ".png": "image/png"}
# Of the progress, where the voices have to be heard first.
_LISTENING_SHARE = 0.1


AnySeparator = Separator | FittedSeparator
"""A trained model's, or a fitted one's."""


@dataclass(frozen=True)
class Delivery:
    """What was made of one recording.

    Attributes:
        files: stems in the model's order, the residual last.
        pitch: `pitch.csv`, `pitch.json` and `notes.mid`, where they were asked for and the model has pitch tracks.
        resynthesis: the mixture as the model sings it again, on the channels that the model hears, where it was asked
            for and the model has one; no part of the sum of stems and residual.
        views: `peaks.json`, `confidence.json`, `report.png` and a spectrogram a track, where they were asked for.
        confidence: how far each stem is to be believed, with the views.
        scores: of the stems whose true sources were given.
        voices: who was taken to sing, in the model's order; stems of others are silent.
        are_voices_detected: True when they were heard (`auto`), False when the caller or the model's card named them.
        sample_rate: of the recording and of every file, Hz.
        num_channels: of the recording, its stems and residual.
        num_samples: likewise, counted.
        conservation_dbfs: peak of (stems + residual - recording) as floats before encoding; -400 when they are equal,
            None when the residual was not asked for.
        wall_seconds: from opening the recording to closing the last file.
        real_time_factor: wall seconds for one second of audio.
    """

    files: tuple[StemFile, ...]
    pitch: tuple[DeliveredFile, ...]
    resynthesis: StemFile | None
    views: tuple[DeliveredFile, ...]
    confidence: ConfidenceResult | None
    scores: tuple[ReferenceScore, ...]
    voices: tuple[str, ...]
    are_voices_detected: bool
    sample_rate: int
    num_channels: int
    num_samples: int
    conservation_dbfs: float | None
    wall_seconds: float
    real_time_factor: float


def separate_file(
    path: Path,
    out_dir: Path,
    separator: AnySeparator,
    stem_format: StemFormat,
    options: SeparationOptions | None = None,
    on_progress: OnProgress | None = None,
    clock: StageClock | None = None,
    limits: AudioLimits | None = None,
    references: Mapping[str, Path] | None = None,
    title: str | None = None,
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
        limits: held against the recording while it is decoded; None: anything goes.
        references: true sources by the name of the stem, to score against; others than the delivered stems' are left.
        title: of the recording, for its picture; None: the name of its file.

    Raises:
        InputError: the recording, the wanted stems or the format cannot be had, a true source does not fit, or a file
            would take the recording's own place.
        ModelError: the model failed.
    """
    began = time.monotonic()
    options = options or SeparationOptions()
    clock = clock or StageClock()
    with open_decoder(path, limits) as decoder:
        sample_rate, num_channels = decoder.facts.sample_rate, decoder.facts.num_channels
        card = separator.card_for(sample_rate, num_channels, options)
        names = [card.stems[place] for place in options.indices(card.stems)]
        voices = check_voices(options.voices, card)
        is_auto = voices == AUTO
        check_stem_format(stem_format, sample_rate, num_channels)
        beside = [RESIDUAL] * options.include_residual + [RESYNTHESIS] * options.include_resynthesis
        check_places(path, [out_dir / f"{name}{stem_format.extension}" for name in names + beside])
        if voices == AUTO:
            voices = _hear_voices(path, separator, clock)
            options = replace(options, voices=voices)
            on_progress = on_progress and partial(_report_after_listening, on_progress)
        mixture = clock.each("decode", decoder.blocks(_BLOCK_LENGTH))
        blocks = separator.separate(mixture, sample_rate, num_channels, decoder.facts.num_samples, on_progress, options)
        out_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".unfinished-", dir=out_dir) as scratch, ExitStack() as open_files:

            def open_stem(name: str, num_channels: int) -> StemWriter:
                stem_path = Path(scratch) / f"{name}{stem_format.extension}"
                encoder = open_encoder(stem_path, stem_format, sample_rate, num_channels)
                return StemWriter(name, stem_path, open_files.enter_context(encoder), stem_format)

            writers = _Writers([open_stem(name, num_channels) for name in names])
            if options.include_residual:
                writers.residual = open_stem(RESIDUAL, num_channels)
            if options.include_resynthesis and "resynthesis" in card.output_names:
                writers.resynthesis = open_stem(RESYNTHESIS, model_channels(card, num_channels))
            if options.include_pitch and (hop_seconds := separator.f0_hop_seconds) is not None:
                has_voicing = "voicing" in card.output_names
                pitch_files = PitchFiles(Path(scratch), names, hop_seconds, has_voicing=has_voicing)
                writers.pitch = open_files.enter_context(pitch_files)
            if references:
                scores = ReferenceScores(references, names, sample_rate, num_channels)
                writers.scores = open_files.enter_context(scores)
            if options.include_views:
                writers.views = ViewFiles(
                    Path(scratch),
                    title or path.name,
                    names,
                    sample_rate,
                    decoder.facts.num_samples,
                    separator.f0_hop_seconds,
                    include_residual=options.include_residual,
                )
            with clock.stage("encode"):
                for block in clock.each("separate", blocks):
                    writers.write(block)
                pitch_paths = writers.pitch.finish() if writers.pitch else []
                reference_scores = writers.scores.finish() if writers.scores else ()
                views = writers.views.finish() if writers.views else None
                open_files.close()
            wall_seconds = time.monotonic() - began
            audio = writers.stems if writers.residual is None else [*writers.stems, writers.residual]
            return Delivery(
                files=tuple(writer.publish(out_dir) for writer in audio),
                pitch=tuple(publish(path, out_dir, MEDIA_TYPES[path.name]) for path in pitch_paths),
                resynthesis=writers.resynthesis.publish(out_dir) if writers.resynthesis else None,
                views=tuple(publish(path, out_dir, VIEW_TYPES[path.suffix]) for path in views.paths) if views else (),
                confidence=views.confidence if views else None,
                scores=reference_scores,
                voices=card.stems if voices is None else voices,
                are_voices_detected=is_auto,
                sample_rate=sample_rate,
                num_channels=num_channels,
                num_samples=decoder.num_decoded,
                conservation_dbfs=None if writers.residual is None else _dbfs(writers.largest_difference),
                wall_seconds=wall_seconds,
                real_time_factor=wall_seconds * sample_rate / decoder.num_decoded,
            )


@dataclass
class _Writers:
    """The open files of one delivery.

    Attributes:
        largest_difference: between the recording and the sum of stems and residual, so far.
    """

    stems: list[StemWriter]
    residual: StemWriter | None = None
    resynthesis: StemWriter | None = None
    pitch: PitchFiles | None = None
    views: ViewFiles | None = None
    scores: ReferenceScores | None = None
    largest_difference: float = field(default=0.0, init=False)

    def write(self, block: SeparatedBlock) -> None:
        # What a stem's format cuts off at full scale goes into the residual: the files add up all the same.
        rest = block.residual
        for writer, samples in zip(self.stems, block.stems, strict=True):
            rest = rest + writer.write(samples)
        if self.residual is not None:
            self.residual.write(rest)
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
            self.views.write(block, beside)
        total = block.stems.sum(axis=0, dtype=np.float64) + block.residual
        self.largest_difference = max(self.largest_difference, peak_of(total - block.mixture))


def _hear_voices(path: Path, separator: AnySeparator, clock: StageClock) -> tuple[str, ...]:
    """Who sings in the recording, which is read once for this alone."""
    with open_decoder(path) as decoder, clock.stage("separate"):
        blocks = clock.each("decode", decoder.blocks(_BLOCK_LENGTH))
        return separator.hear_voices(blocks, decoder.facts.sample_rate, decoder.facts.num_channels)


def _report_after_listening(on_progress: OnProgress, done: float) -> None:
    on_progress(_LISTENING_SHARE + (1 - _LISTENING_SHARE) * done)


def _dbfs(amplitude: float) -> float:
    return max(20 * math.log10(amplitude), _EXACT_DBFS) if amplitude else _EXACT_DBFS
