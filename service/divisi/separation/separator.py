"""Separates one recording: blocks of samples in, blocks of stems out, in flat memory for any length.

Between decoder and encoders on the path *upload → job → worker → engine → stems*; read this file first in this room:

    blocks ─► downmix ─► resample ─► segments ─► engine ─► overlap-add ─► full band ─► stems
       └──────────────────────────────────────────────────────────────────────┴─► residual = recording - stems
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from divisi.audio.resample import StreamResampler
from divisi.audio.waveform import Samples, check_samples
from divisi.bundles.card import ModelCard
from divisi.engines.engine import Engine
from divisi.errors import InputError
from divisi.separation.downmix import Downmix
from divisi.separation.full_band import BandPlan, FullBand, Stems
from divisi.separation.options import SeparationOptions
from divisi.separation.overlap_add import OverlapAdd
from divisi.separation.pitch_join import PitchJoin, Tracks
from divisi.separation.sample_queue import SampleQueue
from divisi.separation.segments import Segment, Segmenter, SegmentPlan

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class SeparatedBlock:
    """The next stretch of the result; concatenated over blocks each array has the recording's length.

    Attributes:
        mixture: float32 (C, n), the recording itself.
        stems: float32 (S, C, n), the wanted stems in the model's order.
        residual: float32 (C, n), mixture minus the sum of stems.
        f0: float32 (S, N), the next frames of the pitch tracks, ahead of the samples; None when the model has none.
    """

    mixture: Samples
    stems: Stems
    residual: Samples
    f0: Tracks | None


class Separator:
    """One opened model, ready for recordings of any rate, length and number of channels, one at a time.

    Args:
        engine: runs the graph.
        card: of the same bundle.
        batch_size: segments of one recording given to the engine at a time.
        batches: counts how often the engine was given how many segments at a time.
    """

    def __init__(
        self, engine: Engine, card: ModelCard, batch_size: int = 1, batches: Counter[int] | None = None
    ) -> None:
        self.engine = engine
        self.card = card
        self.batch_size = batch_size
        self.plan = SegmentPlan.from_card(card)
        self.batches = Counter[int]() if batches is None else batches

    @property
    def f0_hop_seconds(self) -> float | None:
        """From one frame of the pitch tracks to the next; None when the model gives no pitch."""
        hops = [output.hop_length for output in self.card.extra_outputs if output.hop_length]
        return hops[0] / self.card.sample_rate if hops else None

    def separate(
        self,
        blocks: Iterable[Samples],
        sample_rate: int,
        num_channels: int,
        num_samples: int | None = None,
        on_progress: OnProgress | None = None,
        options: SeparationOptions | None = None,
    ) -> Iterator[SeparatedBlock]:
        """Separates one recording.

        Args:
            blocks: the recording, float32 (C, n) each; how it is cut into blocks does not change the result.
            sample_rate: Hz.
            num_channels: C.
            num_samples: length of the recording as far as it is known, for the progress alone.
            on_progress: called with rising numbers in 0..1, at the end with 1.
            options: what to deliver; default everything.

        Raises:
            InputError: `unknown-stem`, `unsupported-channels`, or what `blocks` raises.
            ModelError: the engine failed.
        """
        selected = (options or SeparationOptions()).indices(self.card.stems)
        separation = _Separation(self, sample_rate, num_channels, selected)
        return _watched(separation.run(blocks), num_samples, on_progress)


class _Separation:
    """What is held while one recording passes."""

    def __init__(self, separator: Separator, sample_rate: int, num_channels: int, selected: list[int]) -> None:
        card, plan = separator.card, separator.plan
        model_channels = _model_channels(card, num_channels)
        self._engine = separator.engine
        self._batch_size = separator.batch_size
        self._batches = separator.batches
        self._selected = selected
        self._num_stems = len(card.stems)
        self._num_channels = num_channels
        self._model_channels = model_channels
        self._mixture = SampleQueue(num_channels)
        self._downmix = Downmix(num_channels, sample_rate) if model_channels < num_channels else None
        self._to_model = StreamResampler(model_channels, sample_rate, card.sample_rate)
        self._segmenter = Segmenter(plan, model_channels)
        self._waiting: list[Segment] = []
        self._estimates = OverlapAdd(plan.context_length, plan.fade_length)
        self._f0 = PitchJoin(plan) if any(output.name == "f0" for output in card.extra_outputs) else None
        band = BandPlan(
            sample_rate=sample_rate,
            num_channels=num_channels,
            model_rate=card.sample_rate,
            model_channels=model_channels,
            num_stems=len(card.stems),
            mask_exponent=card.mask_exponent,
            selected=selected,
        )
        self._full_band = None if band.is_direct else FullBand(band, self._downmix)

    def run(self, blocks: Iterable[Samples]) -> Iterator[SeparatedBlock]:
        for block in blocks:
            check_samples(block, self._num_channels)
            self._take(block, is_last=False)
            while len(self._waiting) >= self._batch_size:
                yield from self._separate_batch()
        self._take(np.zeros((self._num_channels, 0), np.float32), is_last=True)
        self._waiting += self._segmenter.finish()
        while self._waiting:
            yield from self._separate_batch()
        yield self._finish()

    def _take(self, block: Samples, *, is_last: bool) -> None:
        self._mixture.push(block)
        if self._full_band is not None:
            self._full_band.push_mixture(block)
        heard = block if self._downmix is None else self._downmix.push(block, is_last=is_last)
        self._waiting += self._segmenter.push(self._to_model.push(heard, is_last=is_last))

    def _separate_batch(self) -> Iterator[SeparatedBlock]:
        batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
        self._batches[len(batch)] += 1
        outputs = self._engine.run(np.stack([segment.samples for segment in batch]))
        for place, segment in enumerate(batch):
            estimates = self._estimates.push(segment.start, outputs["estimates"][place, ..., : segment.num_real])
            f0 = None if self._f0 is None else self._f0.push(segment, outputs["f0"][place])
            yield self._block(estimates, f0, is_last=False)

    def _finish(self) -> SeparatedBlock:
        num_samples = self._segmenter.num_samples
        if num_samples == 0:  # shorter than half a sample at the model's rate: there was nothing to hear
            estimates = np.zeros((self._num_stems, self._model_channels, 0), np.float32)
            return self._block(estimates, None, is_last=True)
        f0 = None if self._f0 is None else self._f0.finish(num_samples)
        return self._block(self._estimates.finish(num_samples), f0, is_last=True)

    def _block(self, estimates: Stems, f0: Tracks | None, *, is_last: bool) -> SeparatedBlock:
        if self._full_band is None:
            stems = estimates[self._selected]
        else:
            stems = self._full_band.push_estimates(estimates, is_last=is_last)
        mixture = self._mixture.pop(stems.shape[-1])
        # In double precision, so that each stem's rounding is not added to the residual's.
        residual = (mixture - stems.sum(axis=0, dtype=np.float64)).astype(np.float32)
        return SeparatedBlock(mixture, stems, residual, None if f0 is None else f0[self._selected])


def _model_channels(card: ModelCard, num_channels: int) -> int:
    if card.num_channels in ("any", num_channels):
        return num_channels
    if card.num_channels == 1:
        return 1
    message = f"model {card.id} separates {card.num_channels} channels; the recording has {num_channels}"
    raise InputError(message, code="unsupported-channels", num_channels=num_channels, model_channels=card.num_channels)


def _watched(
    blocks: Iterator[SeparatedBlock], num_samples: int | None, on_progress: OnProgress | None
) -> Iterator[SeparatedBlock]:
    num_given = 0
    for block in blocks:
        yield block
        num_given += block.residual.shape[-1]
        if on_progress is not None and num_samples:
            on_progress(min(num_given / num_samples, 1.0))
    if on_progress is not None:
        on_progress(1.0)
