"""Separates one recording by a model that is fitted to it: several microphones in, each source at each of them out.

In the place of `separator`, with the same blocks in and out. A short recording is fitted whole. Of a longer one,

    blocks ─► spool on disk ─► most active stretches ─► fit: where everybody is, how everybody sounds
                     └────────► segments ─► adapt: who plays when ─► images ─► overlap-add ─► stems

the room is learnt once, so that no source changes places from one segment to the next, and memory does not grow.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from divisi.audio.recording import Samples, check_samples
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, Fitter, batch_size_for, open_engine, open_fitter
from divisi.models.plan import FitPlan, plan_fit
from divisi.separation.independent_fit import ActivityMeter, IndependentFit, covariance_of, independent_channels
from divisi.separation.segments import OverlapAdd, Segment, Segmenter, SegmentPlan, Stems
from divisi.separation.separator import OnProgress, SeparatedBlock, SeparationOptions, Separator, rest_of
from divisi.separation.survey import Survey
from divisi.settings import Settings

_BLOCK_LENGTH = 1 << 16
_SAMPLE_BYTES = 4  # float32
# Steps of an adaptation leave the spatial half alone and take about half the time.
_WORK_OF_FIT_STEP, _WORK_OF_ADAPT_STEP = 2, 1


@dataclass(frozen=True)
class Stretches:
    """How long recordings are taken apart, in seconds.

    Attributes:
        longest_whole: recordings up to this are fitted whole.
        num_learnt, learnt: how many stretches the room is learnt from, and how long each.
        segment, context, fade: of the segments that longer recordings are separated in.
    """

    longest_whole: float = 20.0
    num_learnt: int = 3
    learnt: float = 5.0
    segment: float = 15.0
    context: float = 0.75
    fade: float = 0.5


@dataclass(frozen=True)
class FittedSeparator:
    """One opened fitted model, ready for recordings of any rate and length by two microphones or more.

    Attributes:
        engine: does the fits.
        card: of the same bundle.
        scratch_dir: where long recordings rest meanwhile; None: the system's folder.
        stretches: see there.
    """

    engine: Fitter
    card: ModelCard
    scratch_dir: Path | None = None
    stretches: Stretches = field(default_factory=Stretches)

    f0_hop_seconds = None

    def plan(self, sample_rate: int, num_channels: int, options: SeparationOptions) -> FitPlan:
        """The fit that a request means for one recording.

        Raises:
            InputError: see `plan_fit`.
        """
        return plan_fit(self.card, options.fit, num_channels, sample_rate)

    def card_for(self, sample_rate: int, num_channels: int, options: SeparationOptions) -> ModelCard:
        """The card with the stems that the request will give."""
        stems = self.plan(sample_rate, num_channels, options).stems
        return self.card.model_copy(update={"stems": stems})

    def detect_accompaniment(self, blocks: Iterable[Samples], survey: Survey) -> bool:
        """Never called: a fitted model has sources, no voices that something could accompany."""
        raise NotImplementedError

    def detect_voices(self, blocks: Iterable[Samples], survey: Survey) -> tuple[str, ...]:
        """Never called: the card takes no roster, which `check_voices` refuses before."""
        raise InputError(f"{self.card.id} takes no names of voices", code="voices-not-supported")

    def separate(
        self,
        blocks: Iterable[Samples],
        sample_rate: int,
        num_channels: int,
        survey: Survey | None = None,
        on_progress: OnProgress | None = None,
        options: SeparationOptions | None = None,
    ) -> Iterator[SeparatedBlock]:
        """Separates one recording; see `Separator.separate`. Nothing comes before all blocks have been taken.

        Raises:
            InputError: the request does not fit the recording, or what `blocks` raises.
            ModelError: the fit failed.
        """
        options = options or SeparationOptions()
        plan = self.plan(sample_rate, num_channels, options)
        selected = options.indices(plan.stems)
        progress = on_progress or (lambda done: None)
        return self._separate(blocks, sample_rate, num_channels, plan, selected, progress)

    def _separate(
        self,
        blocks: Iterable[Samples],
        sample_rate: int,
        num_channels: int,
        plan: FitPlan,
        selected: list[int],
        on_progress: OnProgress,
    ) -> Iterator[SeparatedBlock]:
        meter = ActivityMeter(num_channels, sample_rate)
        with Spool(num_channels, self.scratch_dir) as spool:
            for block in blocks:
                check_samples(block, num_channels)
                meter.push(block)
                spool.write(block)
            spots = [channel for channel in plan.spot_channels if channel is not None]
            independent = independent_channels(covariance_of(spool.blocks(_BLOCK_LENGTH), num_channels), spots)
            fit = IndependentFit(self.engine, plan, independent, selected)
            if spool.num_samples <= self.stretches.longest_whole * sample_rate:
                yield from self._separate_whole(spool, fit, on_progress)
            else:
                yield from self._separate_long(spool, meter, sample_rate, fit, on_progress)
        on_progress(1.0)

    def _separate_whole(self, spool: Spool, fit: IndependentFit, on_progress: OnProgress) -> Iterator[SeparatedBlock]:
        mixture = spool.read(0, spool.num_samples)
        if not mixture.shape[1]:
            return
        advance = _Advance(fit.num_steps, on_progress)
        for _ in fit.learn(mixture[None]):
            advance(1)
        yield _block(mixture, fit.stems(mixture))

    def _separate_long(
        self, spool: Spool, meter: ActivityMeter, sample_rate: int, fit: IndependentFit, on_progress: OnProgress
    ) -> Iterator[SeparatedBlock]:
        parts, length = self.stretches, round(self.stretches.learnt * sample_rate)
        segments = SegmentPlan(
            round(parts.segment * sample_rate), round(parts.context * sample_rate), round(parts.fade * sample_rate)
        )
        num_segments = math.ceil(spool.num_samples / segments.step)
        # Patterns are known from the fit; who plays them when is found in fewer iterations.
        num_adapting = math.ceil(fit.plan.num_iterations / 3)
        work = _WORK_OF_FIT_STEP * fit.num_steps + _WORK_OF_ADAPT_STEP * num_adapting * num_segments
        advance = _Advance(work, on_progress)
        starts = meter.most_active(parts.num_learnt, length)
        learnt = np.stack([spool.read(min(start, spool.num_samples - length), length) for start in starts])
        for _ in fit.learn(learnt):
            advance(_WORK_OF_FIT_STEP)
        join = OverlapAdd(segments.context_length, segments.fade_length)
        num_given = 0
        for segment in _cut(spool, segments, learnt.shape[1]):
            for _ in fit.adapt(segment.samples, num_adapting):
                advance(_WORK_OF_ADAPT_STEP)
            stems = join.push(segment.start, fit.stems(segment.samples)[..., : segment.num_real])
            yield _block(spool.read(num_given, stems.shape[-1]), stems)
            num_given += stems.shape[-1]
        yield _block(spool.read(num_given, spool.num_samples), join.finish(spool.num_samples))


AnySeparator = Separator | FittedSeparator
"""A trained model's, or a fitted one's."""


def open_separator(bundle: ModelBundle, settings: Settings, batches: Counter[int] | None = None) -> AnySeparator:
    """A bundle's model, opened as this deployment's settings say; `batches`: see `Separator`. Raises ModelError."""
    options = EngineOptions.of(settings)
    if bundle.card.fitting:
        return FittedSeparator(open_fitter(bundle, options), bundle.card, settings.work_dir)
    engine = open_engine(settings.engine, bundle, options)
    return Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size), batches)


@dataclass
class _Advance:
    """Counts work done and reports it as a share of all."""

    work: int
    on_progress: OnProgress
    done: int = 0

    def __call__(self, work: int) -> None:
        self.done += work
        self.on_progress(min(self.done / self.work, 1.0))


def _cut(spool: Spool, plan: SegmentPlan, num_channels: int) -> Iterator[Segment]:
    segmenter = Segmenter(plan, num_channels)
    for block in spool.blocks(_BLOCK_LENGTH):
        yield from segmenter.push(block)
    yield from segmenter.finish()


def _block(mixture: Samples, stems: Stems) -> SeparatedBlock:
    return SeparatedBlock(mixture, stems, rest_of(mixture, stems))


class Spool:
    """A recording on disk while it is fitted: written once as it comes, read in any order. A nameless temporary file,
    gone when the context ends.

    Args:
        num_channels: C.
        folder: where it lies; None: the system's.
    """

    def __init__(self, num_channels: int, folder: Path | None = None) -> None:
        self._num_channels = num_channels
        self._file = tempfile.TemporaryFile(dir=folder, prefix="divisi-spool-")  # noqa: SIM115  (closed by __exit__)
        self.num_samples = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, block: Samples) -> None:
        """Takes the next samples, float32 (C, n)."""
        self._file.write(np.ascontiguousarray(block.T).data)
        self.num_samples += block.shape[1]

    def read(self, start: int, length: int) -> Samples:
        """Samples `start` … `start + length`, as far as there are: float32 (C, n)."""
        length = max(min(length, self.num_samples - start), 0)
        self._file.seek(start * self._num_channels * _SAMPLE_BYTES)
        content = self._file.read(length * self._num_channels * _SAMPLE_BYTES)
        return np.ascontiguousarray(np.frombuffer(content, np.float32).reshape(length, self._num_channels).T)

    def blocks(self, length: int) -> Iterator[Samples]:
        """All samples from the first on, float32 (C, length) each, the last one shorter."""
        for start in range(0, self.num_samples, length):
            yield self.read(start, length)
