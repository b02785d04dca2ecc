"""What is measured of a whole recording before it is separated: its length, its peak, how loud it is where it is loud,
and how its channels relate. What stands in front of the music, silence, talk or a click, decides nothing by itself.

    blocks ─► without offset ─► half seconds ─► Survey
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.separation.flatness import NOISE, local_flatness
from divisi.separation.offset import without_offset
from divisi.separation.sample_queue import SampleQueue

_FRAME_SECONDS = 0.5
# Wide stereo and rooms stay well above; only reversed polarity lies near -1.
_REVERSED_CORRELATION = -0.5
# A pair that is rarely opposite is wide, not reversed.
_LEAST_REVERSED_SHARE = 0.1
# The level that a recording keeps up this long, or a tenth of its time: a click or a pop is shorter.
_LOUD_SECONDS, _LOUD_SHARE = 1.5, 0.1
# Less says nothing about noise.
_SHORTEST_SECONDS = 0.25
# Levels that frames are counted at; all that is quieter is silence.
_LOWEST_DB, _LEVEL_DB, _NUM_LEVELS = -125.0, 5.0, 66
# 30 dB below where both are loud.
_QUIETEST_LEVELS = 6


@dataclass(frozen=True)
class Survey:
    """What a pass over a whole recording found.

    Attributes:
        sample_rate: Hz.
        num_channels: C.
        num_samples: of each channel, counted.
        peak: largest absolute sample, full scale 1.
        loud_power: mean square of the channels, without offset, where the recording is loud; 0: it is silent.
        downmix_weights: float32 (C,), whose product with the channels is one channel: each 1 / C, negative for a
            channel of reversed polarity.
        covariance: float64 (C, C), sums of products of the channels without offset.
        noise_share: of the time in which the recording is loud, how much is noise without pitch, 0..1.
    """

    sample_rate: int
    num_channels: int
    num_samples: int
    peak: float
    loud_power: float
    downmix_weights: NDArray[np.float32]
    covariance: NDArray[np.float64]
    noise_share: float


def survey(blocks: Iterable[Samples], sample_rate: int, num_channels: int) -> Survey:
    """Measures a recording; how it is cut into blocks changes nothing, and memory is flat.

    Args:
        blocks: the whole recording, float32 (C, n) each.
        sample_rate: Hz.
        num_channels: C.

    Raises:
        InputError: what `blocks` raises.
    """
    num_samples, peak, num_frames = 0, 0.0, 0
    relations = ChannelRelations(num_channels)
    noise = _Noise(sample_rate)
    loudest: list[float] = []

    def measured() -> Iterator[Samples]:
        nonlocal num_samples, peak
        for block in blocks:
            num_samples += block.shape[1]
            peak = max(peak, float(block.max(initial=0)), -float(block.min(initial=0)))
            yield block

    for frame in _frames(without_offset(measured(), sample_rate, num_channels), sample_rate, num_channels):
        num_frames += 1
        power = relations.push(frame)
        noise.push(frame, power)
        heapq.heappush(loudest, power)
        if len(loudest) > _LOUD_SECONDS / _FRAME_SECONDS:
            heapq.heappop(loudest)
    loud_power = heapq.nlargest(int(_num_loud(np.array(num_frames))), loudest)[-1] if loudest else 0.0
    return Survey(
        sample_rate=sample_rate,
        num_channels=num_channels,
        num_samples=num_samples,
        peak=peak,
        loud_power=loud_power,
        downmix_weights=relations.downmix_weights(),
        covariance=relations.covariance,
        noise_share=noise.share(loud_power),
    )


class ChannelRelations:
    """For how long any two channels run with, and for how long against each other, by the level they have together.

    Attributes:
        covariance: float64 (C, C), sums of products.
    """

    def __init__(self, num_channels: int) -> None:
        self.covariance = np.zeros((num_channels, num_channels))
        # Frames, int (levels, C, C).
        self._all = np.zeros((_NUM_LEVELS, num_channels, num_channels), np.int64)
        self._with = np.zeros_like(self._all)
        self._against = np.zeros_like(self._all)

    def push(self, frame: Samples) -> float:
        """Takes float32 (C, n); gives its mean square."""
        products = frame.astype(np.float64) @ frame.T.astype(np.float64) / frame.shape[1]
        self.covariance += products * frame.shape[1]
        powers = np.diagonal(products)
        both = np.sqrt(powers[:, None] * powers)
        levels = _levels_of(both)
        places = (levels, *np.indices(levels.shape))
        self._all[places] += 1
        self._with[places] += products > -_REVERSED_CORRELATION * both
        self._against[places] += products < _REVERSED_CORRELATION * both
        return float(powers.mean())

    def downmix_weights(self) -> NDArray[np.float32]:
        """A plain mean deletes what two channels carry with opposite signs, so a channel that for longer runs against
        the loudest one than with it is turned over. Shape: (C,).

        Only frames count in which both are loud: hum or noise in a pause may last longer than the music.
        """
        num_frames = self._all.sum(axis=0)
        from_the_top = self._all[::-1].cumsum(axis=0)[::-1]
        is_reached = from_the_top >= _num_loud(num_frames)
        loud_level = _NUM_LEVELS - 1 - is_reached[::-1].argmax(axis=0)
        leading = int(np.diagonal(loud_level).argmax())
        counts = np.arange(_NUM_LEVELS)[:, None] >= np.maximum(loud_level[leading] - _QUIETEST_LEVELS, 1)
        counted, with_it, against = (
            (frames[:, leading] * counts).sum(axis=0) for frames in (self._all, self._with, self._against)
        )
        is_reversed = (against > with_it) & (against > _LEAST_REVERSED_SHARE * counted)
        return (np.where(is_reversed, -1.0, 1.0) / len(is_reversed)).astype(np.float32)


class _Noise:
    """For how long a recording is noise, by its level."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._all = np.zeros(_NUM_LEVELS, np.int64)
        self._noise = np.zeros(_NUM_LEVELS, np.int64)

    def push(self, frame: Samples, power: float) -> None:
        if frame.shape[1] < _SHORTEST_SECONDS * self._sample_rate:
            return
        level = _levels_of(np.array(power))
        self._all[level] += 1
        self._noise[level] += local_flatness(frame, self._sample_rate) > NOISE

    def share(self, loud_power: float) -> float:
        first = max(int(_levels_of(np.array(loud_power))) - _QUIETEST_LEVELS, 1)
        return float(self._noise[first:].sum() / max(self._all[first:].sum(), 1))


def _levels_of(powers: NDArray[np.float64]) -> NDArray[np.intp]:
    decibels = 10 * np.log10(np.maximum(powers, np.finfo(np.float64).tiny))
    return ((decibels - _LOWEST_DB) // _LEVEL_DB).clip(0, _NUM_LEVELS - 1).astype(np.intp)


def _num_loud(num_frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many frames must be as loud as where a recording is loud."""
    return np.clip(np.rint(_LOUD_SHARE * num_frames), 1, round(_LOUD_SECONDS / _FRAME_SECONDS)).astype(np.int64)


def _frames(blocks: Iterable[Samples], sample_rate: int, num_channels: int) -> Iterator[Samples]:
    """Half seconds, the last one shorter."""
    length = max(round(_FRAME_SECONDS * sample_rate), 1)
    waiting = SampleQueue(num_channels)
    for block in blocks:
        waiting.push(block)
        while len(waiting) >= length:
            yield waiting.pop(length)
    if len(waiting):
        yield waiting.pop(len(waiting))
