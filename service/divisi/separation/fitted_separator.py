"""Separates one recording by a model that is fitted to it: several microphones in, each source at each of them out.

In the place of `separator`, with the same blocks in and out. A short recording is fitted whole. Of a longer one,

    blocks ─► spool on disk ─► most active stretches ─► fit: where everybody is, how everybody sounds
                     └────────► segments ─► adapt: who plays when ─► images ─► overlap-add ─► stems

the room is learnt once, so that no source changes places from one segment to the next, and memory does not grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from divisi.audio.recording import Samples, check_samples
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.models.engine import Fitter
from divisi.models.plan import FitPlan, plan_fit
from divisi.separation.active_stretches import ActivityMeter
from divisi.separation.channel_relations import covariance_of, independent_channels
from divisi.separation.full_band import Stems
from divisi.separation.independent_fit import IndependentFit
from divisi.separation.options import SeparationOptions
from divisi.separation.overlap_add import OverlapAdd
from divisi.separation.segments import Segment, Segmenter, SegmentPlan
from divisi.separation.separator import OnProgress, SeparatedBlock
from divisi.separation.spool import Spool
from divisi.separation.survey import Survey

_BLOCK_LENGTH = 1 << 16
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

    def hear_voices(self, blocks: Iterable[Samples], survey: Survey) -> tuple[str, ...]:
        """Never asked: the card takes no roster, which `check_voices` tells before."""
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


class _Advance:
    """Counts work done and reports it as a share of all."""

    def __init__(self, work: int, on_progress: OnProgress) -> None:
        self._work = work
        self._done = 0
        self._on_progress = on_progress

    def __call__(self, work: int) -> None:
        self._done += work
        self._on_progress(min(self._done / self._work, 1.0))


def _cut(spool: Spool, plan: SegmentPlan, num_channels: int) -> Iterator[Segment]:
    segmenter = Segmenter(plan, num_channels)
    for block in spool.blocks(_BLOCK_LENGTH):
        yield from segmenter.push(block)
    yield from segmenter.finish()


def _block(mixture: Samples, stems: Stems) -> SeparatedBlock:
    return SeparatedBlock(mixture, stems, (mixture - stems.sum(axis=0, dtype=np.float64)).astype(np.float32))
