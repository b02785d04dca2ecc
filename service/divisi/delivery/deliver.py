"""From one file to its stems' files: survey → decode → separate → encode, block by block, and figures that prove it.

Called by the worker (`worker/process_job.py`) and by `divisi separate`; both deliver exactly this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from divisi.audio.decode import open_decoder
from divisi.audio.encode import check_encoding, open_encoder
from divisi.audio.recording import AudioLimits, SampleQueue, Samples
from divisi.contract.card import AUTO, RESIDUAL, RESYNTHESIS, ModelCard
from divisi.contract.files import StemFormat
from divisi.contract.manifest import ResultWarning
from divisi.delivery.files import (
    DeliveredFile,
    DeliveryFiles,
    FilesBeside,
    PreviewFiles,
    StemFile,
    StemWriter,
    file_names,
    publish,
)
from divisi.delivery.pitch_files import PitchFiles
from divisi.delivery.scores import ConfidenceResult, ReferenceScore, ReferenceScores
from divisi.delivery.views import ViewFiles, view_names
from divisi.delivery.warnings import Outcome, warnings_of
from divisi.models.plan import check_voices
from divisi.separation.fitted_separator import AnySeparator
from divisi.separation.full_band import model_channels
from divisi.separation.separator import OnProgress, SeparatedBlock, SeparationOptions
from divisi.separation.survey import Survey, survey, without_offset
from divisi.timing import StageClock
from divisi.whole_files import Destination, PlainFolder

Found = TypeVar("Found")

# Samples decoded at a time: a second or two.
_BLOCK_LENGTH = 1 << 16
# Of the progress, where the voices have to be detected first.
_DETECTION_SHARE = 0.1


@dataclass(frozen=True)
class SeparatedFile:
    """What was made of one recording.

    Attributes:
        files: stems in the model's order, the residual last.
        previews: of stems and residual, where they were asked for.
        pitch: pitch tracks, notes and bars, where they were asked for and the model has pitch tracks.
        resynthesis: the mixture as the model sings it again, on the channels that the model takes, where it was asked
            for and the model has one; no part of the sum of stems and residual.
        views: `peaks.json`, `confidence.json`, `report.png` and a spectrogram a track, where they were asked for.
        confidence: how far each stem is to be believed, with the views.
        scores: of the stems whose true sources were given.
        voices: who was taken to sing, in the model's order; stems of others are silent.
        are_voices_detected: True with `auto`, False when the caller or the model's card named them.
        sample_rate: of the recording and of every file, Hz.
        num_channels: of the recording, its stems and residual.
        num_samples: likewise, counted.
        conservation_dbfs: peak of (stems + residual - recording) as the files hold them, rounded and cut; -400 when
            they are equal, None when the residual was not asked for or the format is lossy.
        warnings: what to know before relying on it.
        wall_seconds: from opening the recording to closing the last file.
        real_time_factor: wall seconds for one second of audio.
    """

    files: tuple[StemFile, ...]
    previews: tuple[DeliveredFile, ...]
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
    warnings: tuple[ResultWarning, ...]
    wall_seconds: float
    real_time_factor: float


@dataclass(frozen=True)
class Recording:
    """What is separated.

    Attributes:
        path: any supported format, rate and number of channels.
        title: for its picture and scores; None: the name of its file.
        limits: held against it while it is decoded; None: anything goes.
        references: true sources by the name of the stem, to score against; others than the delivered stems' are left.
        clock: counts how long `decode`, `separate` and `encode` take.
    """

    path: Path
    title: str | None = None
    limits: AudioLimits | None = None
    references: Mapping[str, Path] = field(default_factory=dict)
    clock: StageClock = field(default_factory=StageClock)


def separate_file(
    recording: Path | Recording,
    out: Path | Destination,
    separator: AnySeparator,
    encoding: StemFormat,
    options: SeparationOptions | None = None,
    on_progress: OnProgress | None = None,
) -> SeparatedFile:
    """Separates a recording into files beside each other; when it fails, it leaves none.

    Args:
        out: folder for `<stem><extension>`, made if missing, in which files of the same names are replaced; or what
            takes the files in another way.
        separator: the opened model.
        encoding: how to encode; `wav` is float where the recording goes beyond full scale.
        options: what to deliver; default all stems and the residual.
        on_progress: called with rising numbers in 0..1.

    Raises:
        InputError: the recording, the wanted stems or the format cannot be had, a true source does not fit, or a file
            would take the recording's own place.
        ModelError: the model failed.
    """
    began = time.monotonic()
    source = Recording(recording) if isinstance(recording, Path) else recording
    options, clock = options or SeparationOptions(), source.clock
    with open_decoder(source.path, source.limits) as decoder:
        sample_rate, num_channels = decoder.facts.sample_rate, decoder.facts.num_channels
        card = separator.card_for(sample_rate, num_channels, options)
        names = [card.stems[place] for place in options.indices(card.stems)]
        voices = check_voices(options.voices, card)
        check_encoding(encoding, sample_rate, num_channels)
        destination = PlainFolder(out, source.path) if isinstance(out, Path) else out
        destination.check(file_names(options, card, names, encoding, separator.f0_hop_seconds))
        surveyed, detected = _survey(source), None
        if voices == AUTO:
            voices = detected = _detect(source, surveyed, separator.detect_voices)
            on_progress = on_progress and partial(_report_after_detection, on_progress)
            options = options.model_copy(update={"voices": detected or card.voices})
        if card.accompaniment and options.stems is None:
            is_accompanied = _detect(source, surveyed, separator.detect_accompaniment)
            options = options.model_copy(update={"is_accompanied": is_accompanied})
            card = separator.card_for(sample_rate, num_channels, options)
            names = list(card.stems)
        music = without_offset(clock.each("decode", decoder.blocks(_BLOCK_LENGTH)), sample_rate, num_channels)
        blocks = separator.separate(music, sample_rate, num_channels, surveyed, on_progress, options)
        delivery = _Delivery(card, names, tuple(voices or card.voices), detected, encoding, options, surveyed)
        with destination.unfinished() as scratch, ExitStack() as open_files:
            files = delivery.open(source, scratch, separator.f0_hop_seconds, open_files)
            with clock.stage("encode"):
                _write_all(files, clock.each("separate", blocks), source)
                beside = files.finish()
                open_files.close()
            return delivery.publish(files, beside, destination, time.monotonic() - began)


@dataclass(frozen=True)
class _Delivery:
    """What is known when the files of a delivery are opened.

    Attributes:
        names: of the wanted stems.
        voices: who is taken to sing.
        detected: who was detected, where nobody said who sings.
        asked: the format asked for.
    """

    card: ModelCard
    names: Sequence[str]
    voices: tuple[str, ...]
    detected: tuple[str, ...] | None
    asked: StemFormat
    options: SeparationOptions
    survey: Survey

    @property
    def tracks(self) -> list[str]:
        """Names of the stems, and of the residual where it is asked for."""
        return [*self.names, *([RESIDUAL] if self.options.include_residual else [])]

    @property
    def encoding(self) -> StemFormat:
        """The format that is written."""
        return self.asked.for_peak(self.survey.peak)

    def open(
        self, source: Recording, scratch: Path, f0_hop_seconds: float | None, open_files: ExitStack
    ) -> DeliveryFiles:
        """The files that the options ask for and the model can give; `open_files` closes them."""
        num_channels, sample_rate = self.survey.num_channels, self.survey.sample_rate
        options = self.options

        def stem(name: str, num_channels: int = num_channels) -> StemWriter:
            path = scratch / f"{name}{self.encoding.extension}"
            encoder = open_encoder(path, self.encoding, sample_rate, num_channels)
            return StemWriter(name, path, open_files.enter_context(encoder), self.encoding)

        title = source.title or source.path.name
        files = DeliveryFiles([stem(name) for name in self.names])
        if options.include_residual:
            files.residual = stem(RESIDUAL)
        if options.include_resynthesis and RESYNTHESIS in self.card.output_names:
            files.resynthesis = stem(RESYNTHESIS, model_channels(self.card, num_channels))
        if options.include_previews:
            files.previews = open_files.enter_context(PreviewFiles(scratch, self.tracks, sample_rate, num_channels))
        if options.include_pitch and f0_hop_seconds is not None:
            has_voicing = "voicing" in self.card.output_names
            voices = [name for name in self.names if name != self.card.accompaniment]
            pitch = PitchFiles(scratch, voices, f0_hop_seconds, sample_rate, title, has_voicing=has_voicing)
            files.pitch = open_files.enter_context(pitch)
        if source.references:
            scores = ReferenceScores(source.references, self.names, sample_rate, num_channels)
            files.scores = open_files.enter_context(scores)
        if options.include_views or options.include_report:
            files.views = ViewFiles(scratch, title, self.tracks, sample_rate, self.survey.num_samples, f0_hop_seconds)
        return files

    def publish(
        self, files: DeliveryFiles, beside: FilesBeside, destination: Destination, wall_seconds: float
    ) -> SeparatedFile:
        """Moves what is complete to its place."""
        audio = tuple(writer.publish(destination) for writer in files.audio)
        resynthesis = files.resynthesis.publish(destination) if files.resynthesis else None
        has_all_stems = len(self.names) == len(self.card.stems)
        outcome = Outcome(
            files.energies,
            self.detected == (),
            has_all_stems,
            is_fitted=self.card.fitting is not None,
            accompaniment=self.card.accompaniment if self.card.accompaniment in self.names else None,
        )
        written = [*audio, *([resynthesis] if resynthesis else [])]
        views = view_names(self.options, self.tracks)
        adds_up = files.residual and self.encoding.is_lossless
        return SeparatedFile(
            files=audio,
            previews=tuple(publish(path, destination) for path in beside.previews),
            pitch=tuple(publish(path, destination) for path in beside.pitch),
            resynthesis=resynthesis,
            views=tuple(publish(path, destination) for path in beside.views if path.name in views),
            confidence=beside.confidence,
            scores=beside.scores,
            voices=self.voices,
            are_voices_detected=self.detected is not None,
            sample_rate=self.survey.sample_rate,
            num_channels=self.survey.num_channels,
            num_samples=self.survey.num_samples,
            conservation_dbfs=files.conservation_dbfs if adds_up else None,
            warnings=warnings_of(self.survey, self.asked, written, outcome),
            wall_seconds=wall_seconds,
            real_time_factor=wall_seconds * self.survey.sample_rate / self.survey.num_samples,
        )


def _write_all(files: DeliveryFiles, blocks: Iterable[SeparatedBlock], source: Recording) -> None:
    """All of the result, beside the recording as it is, which is decoded once more: a fitted model's first block comes
    when the recording is at its end, and memory stays flat.
    """
    with open_decoder(source.path) as decoder:
        recording = source.clock.each("decode", decoder.blocks(_BLOCK_LENGTH))
        waiting = SampleQueue(decoder.facts.num_channels)
        for block in blocks:
            while len(waiting) < block.mixture.shape[1]:
                waiting.push(next(recording))
            files.write(block, waiting.pop(block.mixture.shape[1]))


def _survey(source: Recording) -> Survey:
    """The recording, read once for this alone."""
    with open_decoder(source.path, source.limits) as decoder, source.clock.stage("decode"):
        return survey(decoder.blocks(_BLOCK_LENGTH), decoder.facts.sample_rate, decoder.facts.num_channels)


def _detect(source: Recording, surveyed: Survey, detect: Callable[[Iterable[Samples], Survey], Found]) -> Found:
    """What is found in the recording, which is read once for this alone."""
    with open_decoder(source.path) as decoder, source.clock.stage("separate"):
        blocks = source.clock.each("decode", decoder.blocks(_BLOCK_LENGTH))
        music = without_offset(blocks, surveyed.sample_rate, surveyed.num_channels)
        return detect(music, surveyed)


def _report_after_detection(on_progress: OnProgress, done: float) -> None:
    on_progress(_DETECTION_SHARE + (1 - _DETECTION_SHARE) * done)
