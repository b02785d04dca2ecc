"""What a whole recording is before it is separated: what of it is music, and a `Survey` of that.

    blocks ─► without offset ─► half seconds ─► Survey

The offset is the slow part, a constant of the converter or rumble below all music: no voice's, so models are never
given it. It stays in the residual, and stems and residual still sum to the recording. A low-pass of linear phase
(Kaiser window; Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6) follows the offset; music is the recording
without it. From 24 Hz on, below the deepest string of a piano, music stays as it is to -90 dB. Each value looks at a
whole window of the recording and at nothing else: near the ends the nearest such value holds, so that a tone which
begins at full strength does not look like an offset. Only where rumble goes on up to the end is the recording mirrored
there: what a mirror makes of music, some -30 dB for a moment, is less than the rumble.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import SampleQueue, Samples, check_samples

Offset = NDArray[np.float64]
NOISE = 0.4
"""Flatter is noise."""
# Where voices have most of their power; more than one partial in each band.
_LOWEST_HZ, _HIGHEST_HZ, _BAND_HZ = 100.0, 4000.0, 128.0
# All that is slower is offset, all that is faster is music.
_OFFSET_HZ, _MUSIC_HZ = 8.0, 24.0
_ATTENUATION_DB = 90.0
# Of the power of music: an offset that moves more is followed up to the ends.
_MOVING = 1e-3
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
    """What a pass over a whole recording found. What stands in front of the music, silence, talk or a click, decides
    nothing by itself.

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
    relations = _ChannelRelations(num_channels)
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


def without_offset(blocks: Iterable[Samples], sample_rate: int, num_channels: int) -> Iterator[Samples]:
    """The music of a recording; how it is cut into blocks does not change it.

    Args:
        blocks: the recording, float32 (C, n) each.
        sample_rate: Hz.
        num_channels: C.

    Returns:
        float32 (C, m) each, of the recording's length in all, and up to three seconds behind it.
    """
    kernel = low_pass(sample_rate)
    reach, frame_length = len(kernel) // 2, 1 << (4 * len(kernel) - 1).bit_length()
    spectrum = np.fft.rfft(kernel, frame_length)
    # What the next window reaches back to, whose first half is done; the offset up to where it is done.
    held, offset = np.zeros((num_channels, 0), np.float32), np.zeros((num_channels, 0))
    first = 0
    for block in blocks:
        check_samples(block, num_channels)
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= frame_length:
            offset = _inner(held[:, :frame_length], spectrum, reach)
            lead = offset[:, :0] if first else _edge(held[:, ::-1], offset[:, ::-1], spectrum, reach)[:, ::-1]
            yield _less(held[:, first : frame_length - reach], lead, offset)
            held, first = held[:, frame_length - 2 * reach :].copy(), reach
    if not first and held.shape[1] <= 2 * reach:
        # Shorter than one window: its mean is all that can be known.
        if held.shape[1]:
            yield _less(held, held.mean(axis=1, dtype=np.float64, keepdims=True))
        return
    tail = _inner(held, spectrum, reach)
    lead = tail[:, :0] if first else _edge(held[:, ::-1], tail[:, ::-1], spectrum, reach)[:, ::-1]
    yield _less(held[:, first:], lead, tail, _edge(held, np.concatenate([offset, tail], axis=1), spectrum, reach))


class _ChannelRelations:
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


def local_flatness(frame: Samples, sample_rate: int) -> float:
    """Geometric by arithmetic mean of the power in bands, the loud bands counting most; 0 of silence.

    The power of noise (hiss, wind, applause) in neighbouring bins scatters by chance, so their geometric mean is 0.56
    of their mean (e to the power of minus Euler's constant). Tones put nearly all power into few bins: choirs have
    0.03 to 0.1 in most half seconds, a piano 0.04.

    Args:
        frame: some tenths of a second, float32 (C, n); its loudest channel is looked at.
        sample_rate: Hz.
    """
    loudest = frame[int(np.square(frame, dtype=np.float64).sum(axis=1).argmax())]
    powers = np.square(np.abs(np.fft.rfft(loudest * np.hanning(len(loudest)))))
    bin_hz = sample_rate / len(loudest)
    first, end = int(_LOWEST_HZ / bin_hz), int(min(_HIGHEST_HZ, 0.45 * sample_rate) / bin_hz)
    width = max(int(_BAND_HZ / bin_hz), 1)
    bands = powers[first : first + max(end - first, 0) // width * width].reshape(-1, width)
    total = bands.mean(axis=1).sum()
    if not total:
        return 0.0
    return float(np.exp(np.log(bands + np.finfo(np.float64).tiny).mean(axis=1)).sum() / total)


def low_pass(sample_rate: int) -> NDArray[np.float64]:
    """Samples of the filter, an odd number that sum to 1: passes 8 Hz, stops 24 Hz."""
    band = 2 * np.pi * (_MUSIC_HZ - _OFFSET_HZ) / sample_rate
    reach = int(np.ceil((_ATTENUATION_DB - 8) / (2.285 * band) / 2))
    cutoff = (_MUSIC_HZ + _OFFSET_HZ) / sample_rate
    kernel = np.sinc(cutoff * np.arange(-reach, reach + 1)) * np.kaiser(2 * reach + 1, 0.1102 * (_ATTENUATION_DB - 8.7))
    return np.asarray(kernel / kernel.sum())


def _inner(samples: Samples, spectrum: NDArray[np.complex128], reach: int) -> Offset:
    """Of the samples that have a whole window around them: (C, n), n up to a frame -> (C, n - 2 reach)."""
    frame_length = 2 * (len(spectrum) - 1)
    spectra = np.fft.rfft(samples.astype(np.float64), frame_length)
    return np.asarray(np.fft.irfft(spectra * spectrum, frame_length)[:, 2 * reach : samples.shape[1]])


def _edge(samples: Samples, inner: Offset, spectrum: NDArray[np.complex128], reach: int) -> Offset:
    """Of the last samples of a recording: (C, reach).

    Args:
        samples: up to the recording's end, float32 (C, n), n at least 2 reach.
        inner: the offset up to where this one begins.
    """
    samples, inner = samples[:, -2 * reach :], inner[:, -reach:]
    mirrored = np.concatenate([samples, samples[:, -2 : -reach - 2 : -1]], axis=1)
    moving, still = _inner(mirrored, spectrum, reach), inner[:, -1:]
    is_moving = inner.var(axis=1) > _MOVING * (samples[:, reach:] - moving).var(axis=1)
    return np.where(is_moving[:, None], moving, still)


def _less(samples: Samples, *offsets: Offset) -> Samples:
    """The samples without their offset, which comes in parts."""
    return (samples - np.concatenate(offsets, axis=1)).astype(np.float32)
