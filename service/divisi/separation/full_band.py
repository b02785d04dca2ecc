"""Brings a network's estimates, at its own rate and on one channel, to the rate and the channels of the recording.

Between the engine and the stems: `separator` pushes the recording and, later, the estimates; stems come out in step.
The estimates are resampled to the recording's rate and split over its channels in short-time spectra (see `images`),
with windows of the same duration whatever the rate. Memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.audio.resample import StreamResampler
from divisi.separation.images import DownmixImages, own_images
from divisi.separation.sample_queue import SampleQueue
from divisi.separation.spectra import Analysis, Spectra, Synthesis, window_length_near

Stems = NDArray[np.float32]
"""float32 (S, C, T): delivered stems, channels of the recording, samples at its rate."""

# 2048 samples at 16 kHz: partials of low voices stand apart, consonants do not smear.
_WINDOW_SECONDS = 0.128
# Of half the lower rate: beyond, resampling filters fade.
_USABLE_BAND = 0.9
# Singers hardly move; five seconds tell their gains well.
_GAIN_MEMORY_SECONDS = 5.0
# About a second at once: long enough for fast array work, short enough to stay in cache.
_CHUNK_FRAMES = 32


@dataclass(frozen=True)
class BandPlan:
    """How two rates and two numbers of channels meet.

    Attributes:
        sample_rate: of the recording, Hz.
        num_channels: of the recording, C.
        model_rate: of the estimates, Hz.
        model_channels: of the estimates: 1, or C.
        num_stems: S of the estimates.
        mask_exponent: exponent of the ratio masks.
        selected: places of the delivered stems on axis S.
    """

    sample_rate: int
    num_channels: int
    model_rate: int
    model_channels: int
    num_stems: int
    mask_exponent: float
    selected: list[int]

    @property
    def is_direct(self) -> bool:
        """True where the estimates are the stems already."""
        return self.sample_rate == self.model_rate and self.num_channels == self.model_channels


class FullBand:
    """Takes the recording and the estimates, gives the stems.

    Args:
        plan: how they meet.
        downmix_weights: float32 (C,), of the one channel that the network heard; None when it heard all.
    """

    def __init__(self, plan: BandPlan, downmix_weights: NDArray[np.float32] | None) -> None:
        self._plan = plan
        self._downmix_weights = downmix_weights
        self._window_length = window_length_near(_WINDOW_SECONDS * plan.sample_rate)
        self._chunk_length = _CHUNK_FRAMES * self._window_length // 4
        self._num_low_bins = _num_low_bins(self._window_length, plan.sample_rate, plan.model_rate)
        self._resampler = StreamResampler(plan.num_stems * plan.model_channels, plan.model_rate, plan.sample_rate)
        self._mixture = SampleQueue(plan.num_channels)
        self._estimates = SampleQueue(plan.num_stems, plan.model_channels)
        self._analyse_mixture = Analysis(self._window_length, plan.num_channels)
        self._analyse_estimates = Analysis(self._window_length, plan.num_stems, plan.model_channels)
        self._synthesise = [Synthesis(self._window_length, plan.num_channels) for _ in plan.selected]
        self._images: DownmixImages | None = None
        self._num_pushed = 0
        self._num_analysed = 0
        # Samples that the synthesis gives before the recording's first.
        self._lead = self._window_length // 4 * 3
        self._num_given = -self._lead

    def push_mixture(self, block: Samples) -> None:
        """Takes the recording, float32 (C, n)."""
        self._mixture.push(block)
        self._num_pushed += block.shape[1]

    def push_estimates(self, estimates: Stems, *, is_last: bool = False) -> Stems:
        """Takes estimates, gives the stems that have become complete.

        Args:
            estimates: float32 (S, model_channels, m) at the network's rate; their recording has been pushed before.
            is_last: no estimates follow.

        Returns:
            float32 (selected stems, C, n); over all calls n adds up to the recording's length.
        """
        num_stems, num_channels, num_samples = estimates.shape
        flat = self._resampler.push(estimates.reshape(num_stems * num_channels, num_samples), is_last=is_last)
        self._estimates.push(flat.reshape(num_stems, num_channels, flat.shape[1]))
        if is_last:
            self._pad_to_the_end()
        chunks = []
        while min(len(self._mixture), len(self._estimates)) >= self._chunk_length:
            chunks.append(self._next_chunk())
        return self._within_recording(chunks)

    def _pad_to_the_end(self) -> None:
        """Silence after both, until the last sample of the recording is in its last frame."""
        num_chunks = -(-(self._num_pushed + self._lead) // self._chunk_length)
        for queue in (self._mixture, self._estimates):
            missing = num_chunks * self._chunk_length - self._num_analysed - len(queue)
            queue.push(np.zeros((*queue.axes, max(missing, 0)), np.float32))

    def _next_chunk(self) -> Stems:
        mixture = self._analyse_mixture.push(self._mixture.pop(self._chunk_length))
        estimates = self._analyse_estimates.push(self._estimates.pop(self._chunk_length))
        self._num_analysed += self._chunk_length
        images = self._split(mixture, estimates)
        return np.stack([synthesise.push(image) for synthesise, image in zip(self._synthesise, images, strict=True)])

    def _split(self, mixture: Spectra, estimates: Spectra) -> Iterator[Spectra]:
        plan = self._plan
        if self._downmix_weights is None:
            return own_images(mixture, estimates, self._num_low_bins, plan.mask_exponent, plan.selected)
        if self._images is None:
            memory_frames = _GAIN_MEMORY_SECONDS * plan.sample_rate / (self._window_length // 4)
            self._images = DownmixImages(
                self._downmix_weights, plan.num_stems, self._num_low_bins, plan.mask_exponent, memory_frames
            )
        return self._images.split(mixture, estimates[:, 0], plan.selected)

    def _within_recording(self, chunks: list[Stems]) -> Stems:
        """The chunks as one, without what the windows reach over the recording's ends."""
        if not chunks:
            return np.zeros((len(self._plan.selected), self._plan.num_channels, 0), np.float32)
        stems = np.concatenate(chunks, axis=-1)
        first, last = max(-self._num_given, 0), max(self._num_pushed - self._num_given, 0)
        self._num_given += stems.shape[-1]
        return stems[..., first:last]


def _num_low_bins(window_length: int, sample_rate: int, model_rate: int) -> int:
    """Bins in which the estimates are used as they are: all, where nothing was resampled."""
    num_bins = window_length // 2 + 1
    if sample_rate == model_rate:
        return num_bins
    return min(num_bins, int(_USABLE_BAND * min(sample_rate, model_rate) / 2 * window_length / sample_rate) + 1)
