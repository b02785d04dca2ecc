"""Separates one recording: blocks of samples in, blocks of stems out, in flat memory for any length.

Between decoder and encoders on the path *upload → job → worker → engine → stems*; read this file first in this room:

    blocks ─► downmix ─► resample ─► segments ─► engine ─► overlap-add ─► full band ─► stems
       └──────────────────────────────────────────────────────────────────────┴─► residual = recording - stems

Who may sing, the roster, and what one channel is made of hold for the whole recording; a `Survey` of it decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from divisi.audio.recording import SampleQueue, Samples, StreamResampler, check_samples, fit_length
from divisi.contract.card import AUTO, ModelCard
from divisi.contract.errors import InputError
from divisi.contract.request import DeliveryOptions
from divisi.models.engine import Engine
from divisi.models.plan import FitRequest, Voices, check_voices
from divisi.separation.full_band import BandPlan, FullBand, ModelInput
from divisi.separation.roster import ACCOMPANIED_SEGMENTS, detect_accompaniment, detect_roster, spread_segments
from divisi.separation.segments import JoinedOutputs, OutputJoin, Segment, SegmentPlan, Stems, Tracks
from divisi.separation.survey import Survey

OnProgress = Callable[[float], None]


class SeparationOptions(DeliveryOptions):
    """What one request asks of a separation: options as they came, and what was made of them. (What belongs to the
    model is in its card, to the deployment in Settings.)

    Attributes:
        stems: names of the wanted stems; None for all of the model's.
        include_pitch: also deliver pitch tracks and notes of the wanted stems, where the model has them.
        include_resynthesis: also deliver the mixture as the model sings it again, where it can.
        include_views: also deliver what people look at: peaks, spectrograms, confidence, a picture of it all.
        include_previews: also deliver stems and residual as small files to listen to at once.
        include_report: also deliver the picture, where not all of those are wanted.
        voices: who may sing, by name; None: all of the model's stems; `auto`: whoever is detected. Stems of the others
            are silent.
        is_accompanied: False where nothing accompanies the voices: a model's accompaniment is no stem then.
        fit: what is asked of a model that is fitted to the recording; None: what its card says.
    """

    stems: tuple[str, ...] | None = None
    include_pitch: bool = False
    include_resynthesis: bool = False
    include_views: bool = False
    include_previews: bool = False
    include_report: bool = False
    voices: Voices = None
    is_accompanied: bool = True
    fit: FitRequest | None = None

    def indices(self, model_stems: Sequence[str]) -> list[int]:
        """Places of the wanted stems on the model's axis S, in the model's order.

        Raises:
            InputError: code `unknown-stem`.
        """
        if self.stems is None:
            return list(range(len(model_stems)))
        for name in self.stems:
            if name not in model_stems:
                message = f"the model has no stem {name[:80]!r}; it has {', '.join(model_stems)}"
                raise InputError(message, code="unknown-stem", stems=list(model_stems))
        return [place for place, name in enumerate(model_stems) if name in self.stems]


@dataclass(frozen=True)
class SeparatedBlock:
    """The next stretch of the result; concatenated over blocks each array has the recording's length.

    Attributes:
        mixture: float32 (C, n), the recording itself.
        stems: float32 (S, C, n), the wanted stems in the model's order.
        residual: float32 (C, n), mixture minus the sum of stems.
        f0: float32 (S, N), the next frames of the pitch tracks, ahead of the samples; None when the model has none.
        voicing: float32 (S, N), how sure each pitch is, 0..1, in step with f0; None when the model has none.
        resynthesis: float32 (C of the model, m), the next samples of the mixture sung again, at the recording's rate
            and ahead of the others; None when the model has none.
    """

    mixture: Samples
    stems: Stems
    residual: Samples
    f0: Tracks | None = None
    voicing: Tracks | None = None
    resynthesis: Samples | None = None


def rest_of(mixture: Samples, stems: Stems) -> Samples:
    """What no stem holds, float32 (C, n), of float32 (C, n) and (S, C, n)."""
    # In double precision, so that each stem's rounding is not added to the rest's.
    return (mixture - stems.sum(axis=0, dtype=np.float64)).astype(np.float32)


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
        return self.card.hop_length / self.card.sample_rate if self.card.hop_length else None

    def card_for(self, sample_rate: int, num_channels: int, options: SeparationOptions) -> ModelCard:
        """The card with the stems that a request will give: all but an accompaniment that is known to be absent."""
        if options.is_accompanied or not self.card.accompaniment:
            return self.card
        return self.card.model_copy(update={"stems": self.card.voices, "accompaniment": None})

    def detect_voices(self, blocks: Iterable[Samples], survey: Survey) -> tuple[str, ...]:
        """Which voices sing in a recording; takes as long as separating `roster.MOST_SEGMENTS` segments once or twice.

        Args:
            blocks: the recording, float32 (C, n) each.
            survey: of the same.

        Returns:
            their names; may be none.

        Raises:
            InputError, ModelError: as `separate`; `voices-not-supported` when the model takes no roster.
        """
        check_voices(AUTO, self.card)
        segments = spread_segments(blocks, self.card, self.plan, survey)
        places = detect_roster(self.engine, self.card, segments)
        return tuple(self.card.stems[place] for place in places)

    def detect_accompaniment(self, blocks: Iterable[Samples], survey: Survey) -> bool:
        """Whether anything accompanies the voices that the model can detect; takes `ACCOMPANIED_SEGMENTS` at most."""
        if not self.card.accompaniment:
            return False
        segments = spread_segments(blocks, self.card, self.plan, survey, ACCOMPANIED_SEGMENTS)
        return detect_accompaniment(self.engine, self.card, segments)

    def separate(
        self,
        blocks: Iterable[Samples],
        sample_rate: int,
        num_channels: int,
        survey: Survey | None = None,
        on_progress: OnProgress | None = None,
        options: SeparationOptions | None = None,
    ) -> Iterator[SeparatedBlock]:
        """Separates one recording.

        Args:
            blocks: the recording, float32 (C, n) each; how it is cut into blocks does not change the result.
            sample_rate: Hz.
            num_channels: C.
            survey: of the same; needed where the model takes fewer channels than there are, and for the progress.
            on_progress: called with rising numbers in 0..1, at the end with 1.
            options: what to deliver; default everything. Voices must be given by name: `auto` needs the whole
                recording first, see `detect_voices`.

        Raises:
            InputError: `unknown-stem`, `unknown-voice`, `voices-not-supported`, `unsupported-channels`, or what
                `blocks` raises.
            ModelError: the engine failed.
        """
        options = options or SeparationOptions()
        if check_voices(options.voices, self.card) == AUTO:
            raise ValueError("detect_voices first, then separate with the voices that it gives")
        separation = _Separation(self, sample_rate, num_channels, options, survey)
        return _watched(separation.run(blocks), survey, on_progress)


class _Separation:
    """What is held while one recording passes."""

    def __init__(
        self,
        separator: Separator,
        sample_rate: int,
        num_channels: int,
        options: SeparationOptions,
        survey: Survey | None,
    ) -> None:
        card = separator.card_for(sample_rate, num_channels, options)
        sounding = {*(options.voices or card.voices), card.accompaniment}
        listed = np.array([name in sounding for name in separator.card.stems], np.float32)
        self._separator = separator
        self._selected = options.indices(card.stems)
        self._roster = None if listed.all() else listed
        self._absent = np.flatnonzero(listed[: len(card.stems)] == 0).tolist()
        self._num_stems = len(card.stems)
        self._num_taken = 0
        self._mixture = SampleQueue(num_channels)
        self._input = ModelInput(card, separator.plan, sample_rate, num_channels, survey)
        self._waiting: list[Segment] = []
        self._join = OutputJoin(card, separator.plan)
        self._resynthesis = StreamResampler(self._input.num_channels, card.sample_rate, sample_rate)
        self._num_resynthesised = 0
        band = BandPlan(
            sample_rate=sample_rate,
            num_channels=num_channels,
            model_rate=card.sample_rate,
            model_channels=self._input.num_channels,
            num_stems=len(card.stems),
            mask_exponent=card.mask_exponent,
            selected=self._selected,
        )
        self._full_band = None if band.is_direct else FullBand(band, self._input.downmix_weights)

    def run(self, blocks: Iterable[Samples]) -> Iterator[SeparatedBlock]:
        for block in blocks:
            check_samples(block, *self._mixture.axes)
            self._take(block, is_last=False)
            while len(self._waiting) >= self._separator.batch_size:
                yield from self._separate_batch()
        self._take(np.zeros((*self._mixture.axes, 0), np.float32), is_last=True)
        while self._waiting:
            yield from self._separate_batch()
        yield self._finish()

    def _take(self, block: Samples, *, is_last: bool) -> None:
        self._num_taken += block.shape[1]
        self._mixture.push(block)
        if self._full_band is not None:
            self._full_band.push_mixture(block)
        self._waiting += self._input.push(block, is_last=is_last)

    def _separate_batch(self) -> Iterator[SeparatedBlock]:
        most = self._separator.batch_size
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        self._separator.batches[len(batch)] += 1
        roster = None if self._roster is None else np.tile(self._roster, (len(batch), 1))
        outputs = self._separator.engine.run(np.stack([segment.samples for segment in batch]), roster)
        for name in ("estimates", "f0", "voicing"):
            if name in outputs:
                outputs[name] = outputs[name][:, : self._num_stems]  # without an accompaniment that is absent
                if self._absent:
                    outputs[name][:, self._absent] = 0  # a network can only be nearly silent
        for place, segment in enumerate(batch):
            joined = self._join.push(segment, {name: array[place] for name, array in outputs.items()})
            yield self._block(joined, is_last=False)

    def _finish(self) -> SeparatedBlock:
        num_samples = self._input.num_samples
        if num_samples:
            return self._block(self._join.finish(num_samples), is_last=True)
        # Shorter than half a sample at the model's rate: there was nothing to separate.
        nothing = np.zeros((self._num_stems, self._input.num_channels, 0), np.float32)
        return self._block(JoinedOutputs(nothing, resynthesis=nothing[0]), is_last=True)

    def _block(self, joined: JoinedOutputs, *, is_last: bool) -> SeparatedBlock:
        if self._full_band is None:
            stems = joined.estimates[self._selected]
        else:
            stems = self._full_band.push_estimates(joined.estimates, is_last=is_last)
        mixture = self._mixture.pop(stems.shape[-1])
        f0, voicing = (None if tracks is None else tracks[self._selected] for tracks in (joined.f0, joined.voicing))
        resynthesis = self._at_recording_rate(joined.resynthesis, is_last=is_last)
        return SeparatedBlock(mixture, stems, rest_of(mixture, stems), f0, voicing, resynthesis)

    def _at_recording_rate(self, resynthesis: Samples | None, *, is_last: bool) -> Samples | None:
        """At the recording's rate, and at its end neither shorter nor longer than it."""
        if resynthesis is None:
            return None
        samples = self._resynthesis.push(resynthesis, is_last=is_last)
        if is_last:
            samples = fit_length(samples, self._num_taken - self._num_resynthesised)
        self._num_resynthesised += samples.shape[1]
        return samples


def _watched(
    blocks: Iterator[SeparatedBlock], survey: Survey | None, on_progress: OnProgress | None
) -> Iterator[SeparatedBlock]:
    num_given = 0
    for block in blocks:
        yield block
        num_given += block.residual.shape[-1]
        if on_progress is not None and survey is not None and survey.num_samples:
            on_progress(min(num_given / survey.num_samples, 1.0))
    if on_progress is not None:
        on_progress(1.0)
