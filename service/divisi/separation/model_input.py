"""A recording as its model hears it: blocks at the recording's rate → downmix → model's rate → segments.

The first half of the way through `separator`; `roster` listens along the same way, and so hears the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.audio.resample import StreamResampler
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.separation.segments import Segment, Segmenter, SegmentPlan
from divisi.separation.survey import Survey


class ModelInput:
    """Takes blocks, gives the segments that have become complete.

    Args:
        card: of the model.
        plan: how to cut.
        sample_rate: of the recording, Hz.
        num_channels: of the recording.
        survey: of the recording; only where many channels become one is it needed.

    Attributes:
        num_channels: C of the segments.
        downmix_weights: float32 (C of the recording,), what makes one channel of many; None where the model hears all.

    Raises:
        InputError: code `unsupported-channels`.
    """

    def __init__(
        self, card: ModelCard, plan: SegmentPlan, sample_rate: int, num_channels: int, survey: Survey | None
    ) -> None:
        self.num_channels = model_channels(card, num_channels)
        self.downmix_weights: NDArray[np.float32] | None = None
        if self.num_channels < num_channels:
            if survey is None:
                raise ValueError("survey the recording first: which channels are turned over shows at its end")
            self.downmix_weights = survey.downmix_weights
        self._to_model = StreamResampler(self.num_channels, sample_rate, card.sample_rate)
        self._segmenter = Segmenter(plan, self.num_channels)

    @property
    def num_samples(self) -> int:
        """Samples at the model's rate so far, of each channel."""
        return self._segmenter.num_samples

    def push(self, block: Samples, *, is_last: bool = False) -> list[Segment]:
        """Takes float32 (C, n), n ≥ 0; with `is_last` gives all that is left."""
        heard = block if self.downmix_weights is None else mixed_down(block, self.downmix_weights)
        segments = self._segmenter.push(self._to_model.push(heard, is_last=is_last))
        return segments + self._segmenter.finish() if is_last else segments


def mixed_down(block: Samples, weights: NDArray[np.float32]) -> Samples:
    """One channel of many: float32 (C, n) and (C,) -> (1, n)."""
    # Channel by channel: a matrix product may round differently in blocks of different length.
    mixed = np.zeros((1, block.shape[1]), np.float32)
    for weight, channel in zip(weights, block, strict=True):
        mixed[0] += weight * channel
    return mixed


def model_channels(card: ModelCard, num_channels: int) -> int:
    """C of what the model hears of a recording of so many channels. Raises InputError: `unsupported-channels`."""
    if card.num_channels in ("any", num_channels):
        return num_channels
    if card.num_channels == 1:
        return 1
    message = f"model {card.id} separates {card.num_channels} channels; the recording has {num_channels}"
    raise InputError(message, code="unsupported-channels", num_channels=num_channels, model_channels=card.num_channels)
