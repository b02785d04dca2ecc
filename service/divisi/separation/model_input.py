"""A recording as its model hears it: blocks at the recording's rate → downmix → model's rate → segments.

The first half of the way through `separator`; `roster` listens along the same way, and so hears the same.
"""

from __future__ import annotations

from divisi.audio.resample import StreamResampler
from divisi.audio.waveform import Samples
from divisi.bundles.card import ModelCard
from divisi.errors import InputError
from divisi.separation.downmix import Downmix
from divisi.separation.segments import Segment, Segmenter, SegmentPlan


class ModelInput:
    """Takes blocks, gives the segments that have become complete.

    Args:
        card: of the model.
        plan: how to cut.
        sample_rate: of the recording, Hz.
        num_channels: of the recording.

    Attributes:
        num_channels: C of the segments.
        downmix: what makes one channel of many; None where the model hears them all.

    Raises:
        InputError: code `unsupported-channels`.
    """

    def __init__(self, card: ModelCard, plan: SegmentPlan, sample_rate: int, num_channels: int) -> None:
        self.num_channels = model_channels(card, num_channels)
        self.downmix = Downmix(num_channels, sample_rate) if self.num_channels < num_channels else None
        self._to_model = StreamResampler(self.num_channels, sample_rate, card.sample_rate)
        self._segmenter = Segmenter(plan, self.num_channels)

    @property
    def num_samples(self) -> int:
        """Samples at the model's rate so far, of each channel."""
        return self._segmenter.num_samples

    def push(self, block: Samples, *, is_last: bool = False) -> list[Segment]:
        """Takes float32 (C, n), n ≥ 0; with `is_last` gives all that is left."""
        heard = block if self.downmix is None else self.downmix.push(block, is_last=is_last)
        segments = self._segmenter.push(self._to_model.push(heard, is_last=is_last))
        return segments + self._segmenter.finish() if is_last else segments


def model_channels(card: ModelCard, num_channels: int) -> int:
    """C of what the model hears of a recording of so many channels. Raises InputError: `unsupported-channels`."""
    if card.num_channels in ("any", num_channels):
        return num_channels
    if card.num_channels == 1:
        return 1
    message = f"model {card.id} separates {card.num_channels} channels; the recording has {num_channels}"
    raise InputError(message, code="unsupported-channels", num_channels=num_channels, model_channels=card.num_channels)
