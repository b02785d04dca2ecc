"""From the recording's rate and channels to the model's, and back.

    blocks ─► downmix ─► resample ─► segments            ModelInput; `roster` listens along the same way
    estimates ─► resample ─► spectra ─► images ─► stems  FullBand; the recording is pushed first, stems come in step

Going back, the estimates are split over the recording's channels in short-time spectra (`images`), with windows of the
same duration whatever the rate. They are Hann windows (periodic) at analysis and synthesis with hops of a quarter
window: their squares add up to 3/2 everywhere, so what is analysed and not changed comes back exact. The first frame
starts three hops before the first sample. Memory does not grow with the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import SampleQueue, Samples, StreamResampler
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.separation.images import DownmixImages, Spectra, own_images
from divisi.separation.segments import Segment, Segmenter, SegmentPlan, Stems
from divisi.separation.survey import Survey

# 2048 samples at 16 kHz: partials of low voices stand apart, consonants do not smear.
_WINDOW_SECONDS = 0.128
# Of half the lower rate: beyond, resampling filters fade.
_USABLE_BAND = 0.9
# Singers hardly move; five seconds give their gains well.
_GAIN_MEMORY_SECONDS = 5.0
# About a second at once: long enough for fast array work, short enough to stay in cache.
_CHUNK_FRAMES = 32
_OVERLAP = 4
_WINDOW_POWER = 1.5
# Sizes of the fast paths of the FFT.
_SMALL_PRIMES = (2, 3, 5, 7, 11)


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
        downmix_weights: float32 (C of the recording,), what makes one channel of many; None where the model takes all.

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
        channels = block if self.downmix_weights is None else mixed_down(block, self.downmix_weights)
        segments = self._segmenter.push(self._to_model.push(channels, is_last=is_last))
        return segments + self._segmenter.finish() if is_last else segments


def mixed_down(block: Samples, weights: NDArray[np.float32]) -> Samples:
    """One channel of many: float32 (C, n) and (C,) -> (1, n)."""
    # Channel by channel: a matrix product may round differently in blocks of different length.
    mixed = np.zeros((1, block.shape[1]), np.float32)
    for weight, channel in zip(weights, block, strict=True):
        mixed[0] += weight * channel
    return mixed


def model_channels(card: ModelCard, num_channels: int) -> int:
    """C of what the model takes of a recording of so many channels. Raises InputError: `unsupported-channels`."""
    if card.num_channels in ("any", num_channels):
        return num_channels
    if card.num_channels == 1:
        return 1
    message = f"model {card.id} separates {card.num_channels} channels; the recording has {num_channels}"
    raise InputError(message, code="unsupported-channels", num_channels=num_channels, model_channels=card.num_channels)


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
        downmix_weights: float32 (C,), of the one channel that the network took; None when it took all.
    """

    def __init__(self, plan: BandPlan, downmix_weights: NDArray[np.float32] | None) -> None:
        self._plan = plan
        window_length = window_length_near(_WINDOW_SECONDS * plan.sample_rate)
        hop_length = window_length // _OVERLAP
        self._chunk_length = _CHUNK_FRAMES * hop_length
        self._num_low_bins = _num_low_bins(window_length, plan.sample_rate, plan.model_rate)
        self._images: DownmixImages | None = None
        if downmix_weights is not None:
            memory_frames = _GAIN_MEMORY_SECONDS * plan.sample_rate / hop_length
            self._images = DownmixImages(
                downmix_weights, plan.num_stems, self._num_low_bins, plan.mask_exponent, memory_frames
            )
        self._resampler = StreamResampler(plan.num_stems * plan.model_channels, plan.model_rate, plan.sample_rate)
        self._mixture = SampleQueue(plan.num_channels)
        self._estimates = SampleQueue(plan.num_stems, plan.model_channels)
        self._analyse_mixture = Analysis(window_length, plan.num_channels)
        self._analyse_estimates = Analysis(window_length, plan.num_stems, plan.model_channels)
        self._synthesise = [Synthesis(window_length, plan.num_channels) for _ in plan.selected]
        self._num_pushed = 0
        self._num_analysed = 0
        # Samples that the synthesis gives before the recording's first.
        self._lead = (_OVERLAP - 1) * hop_length
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
        plan = self._plan
        mixture = self._analyse_mixture.push(self._mixture.pop(self._chunk_length))
        estimates = self._analyse_estimates.push(self._estimates.pop(self._chunk_length))
        self._num_analysed += self._chunk_length
        if self._images is None:
            images = own_images(mixture, estimates, self._num_low_bins, plan.mask_exponent, plan.selected)
        else:
            images = self._images.split(mixture, estimates[:, 0], plan.selected)
        return np.stack([synthesise.push(image) for synthesise, image in zip(self._synthesise, images, strict=True)])

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


class Analysis:
    """Spectra of a stream.

    Args:
        window_length: samples of a window, a multiple of 4.
        axes: sizes of the stream's axes but the last, such as (C,).
    """

    def __init__(self, window_length: int, *axes: int) -> None:
        self._window = _hann(window_length)
        self._hop_length = window_length // _OVERLAP
        # What the next frames reach back to; silence before the first sample.
        self._before = np.zeros((*axes, window_length - self._hop_length), np.float32)

    def push(self, samples: NDArray[np.float32]) -> Spectra:
        """Takes float32 (..., N * hop), gives complex64 (..., N, F): the frames that end with these hops."""
        stream = np.concatenate([self._before, samples], axis=-1)
        self._before = stream[..., samples.shape[-1] :].copy()
        frames = np.lib.stride_tricks.sliding_window_view(stream, len(self._window), axis=-1)
        # Single precision in, single precision out; NumPy's annotations do not know.
        return cast(Spectra, np.fft.rfft(frames[..., :: self._hop_length, :] * self._window))


class Synthesis:
    """A stream from spectra; it lags three hops behind what `Analysis` was given.

    Args:
        window_length: samples of a window, a multiple of 4.
        axes: sizes of the stream's axes but the last, such as (C,).
    """

    def __init__(self, window_length: int, *axes: int) -> None:
        self._window = _hann(window_length) / np.float32(_WINDOW_POWER)
        self._hop_length = window_length // _OVERLAP
        self._after = np.zeros((*axes, _OVERLAP - 1, self._hop_length), np.float32)

    def push(self, spectra: Spectra) -> NDArray[np.float32]:
        """Takes complex64 (..., N, F), gives float32 (..., N * hop): the hops that these frames complete."""
        *axes, num_frames, _ = spectra.shape
        frames = np.fft.irfft(spectra, len(self._window))
        frames *= self._window
        hops = np.zeros((*axes, num_frames + _OVERLAP - 1, self._hop_length), np.float32)
        hops[..., : _OVERLAP - 1, :] = self._after
        quarters = frames.reshape(*axes, num_frames, _OVERLAP, self._hop_length)
        for quarter in range(_OVERLAP):
            hops[..., quarter : quarter + num_frames, :] += quarters[..., quarter, :]
        self._after = hops[..., num_frames:, :].copy()
        return hops[..., :num_frames, :].reshape(*axes, -1)


def _hann(length: int) -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def window_length_near(samples: float) -> int:
    """The window length nearest to `samples` whose quarter is whole and whose transform is fast; at least 16."""
    lengths = filter(_is_smooth, range(16, 2 * max(int(samples), 16), _OVERLAP))
    return min(lengths, key=lambda length: abs(length - samples))


def _is_smooth(number: int) -> bool:
    for prime in _SMALL_PRIMES:
        while number % prime == 0:
            number //= prime
    return number == 1
