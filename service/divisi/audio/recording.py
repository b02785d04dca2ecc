"""A recording: what is known of it (AudioFacts), what is allowed (AudioLimits), how its samples are held, and how their
rate is changed: by a thin layer over soxr that fixes the length, so that going there and back keeps the sample count.

Long recordings are never in memory whole: they stay blocks of `Samples`, in WAV order of channels.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.contract.errors import InputError

Samples = NDArray[np.float32]
"""float32 (C, T): channels, samples; full scale ±1, and values beyond are legal."""

# Below, no singing is left to separate; above, no recorder delivers. Both ends are far outside of what converters do.
MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 384_000
_SAMPLE_BYTES = 4  # float32
_MEDIA_TYPES = {"rf64": "audio/wav", "mp3": "audio/mpeg", "caf": "audio/x-caf", "m4a": "audio/mp4"}


@dataclass(frozen=True)
class AudioFacts:
    """What a recording is.

    Attributes:
        container: `wav`, `rf64`, `flac`, `ogg`, `mp3`, `aiff`, `caf`, `m4a`, `aac`, `webm`.
        codec: how samples are coded, in libsndfile's or FFmpeg's word: `pcm_16`, `float`, `vorbis`, `aac` …
        sample_rate: Hz.
        num_channels: C.
        num_samples: T of each channel; 0 with `exact=False`: the header does not say.
        exact: counted by decoding everything; else the header's word.
    """

    container: str
    codec: str
    sample_rate: int
    num_channels: int
    num_samples: int
    exact: bool

    @property
    def duration_seconds(self) -> float:
        """T over the rate."""
        return self.num_samples / self.sample_rate

    @property
    def media_type(self) -> str:
        """Of the container, such as `audio/flac`."""
        return _MEDIA_TYPES.get(self.container, f"audio/{self.container}")


@dataclass(frozen=True)
class AudioLimits:
    """What this deployment accepts, made from its settings by the caller.

    Attributes:
        max_duration_seconds: longest recording.
        max_channels: most channels.
        inspect_seconds: longest time spent on counting by decoding.
        max_decoded_bytes: most that all samples may take as float32; a small FLAC file can hold hours of silence
            in many channels.
    """

    max_duration_seconds: float
    max_channels: int
    inspect_seconds: float
    max_decoded_bytes: float = math.inf


def check_sample_rate(sample_rate: float) -> None:
    """Raises InputError `invalid-sample-rate` outside of MIN_SAMPLE_RATE … MAX_SAMPLE_RATE (Hz)."""
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise InputError(
            f"the sample rate is {sample_rate:g} Hz; accepted are {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz",
            code="invalid-sample-rate",
            sample_rate=sample_rate,
        )


def check_limits(facts: AudioFacts, limits: AudioLimits) -> None:
    """Raises InputError `too-many-channels`, `audio-too-long` or `audio-too-large` when the facts exceed the limits."""
    if facts.num_channels > limits.max_channels:
        raise InputError(
            f"the file has {facts.num_channels} channels; this service accepts {limits.max_channels}",
            code="too-many-channels",
            num_channels=facts.num_channels,
            limit_channels=limits.max_channels,
        )
    if facts.duration_seconds > limits.max_duration_seconds:
        raise too_long(f"lasts {facts.duration_seconds:.0f} s", limits)
    check_decoded_bytes(facts.num_samples, facts.num_channels, limits)


def check_decoded_bytes(num_samples: int, num_channels: int, limits: AudioLimits) -> None:
    """Raises InputError `audio-too-large` when so many samples of each channel take more than the limit."""
    num_bytes = num_samples * num_channels * _SAMPLE_BYTES
    if num_bytes > limits.max_decoded_bytes:
        raise InputError(
            f"decoded, the file takes {num_bytes} bytes or more; this service accepts {limits.max_decoded_bytes:.0f}",
            code="audio-too-large",
            limit_bytes=limits.max_decoded_bytes,
        )


def too_long(what: str, limits: AudioLimits) -> InputError:
    """The error `audio-too-long`; `what` says how long, such as `lasts 2410 s`."""
    return InputError(
        f"the file {what}; this service accepts {limits.max_duration_seconds:.0f} s",
        code="audio-too-long",
        limit_seconds=limits.max_duration_seconds,
    )


def check_true_source(stem: str, source_rate: int, source_channels: int, sample_rate: int, num_channels: int) -> None:
    """InputError (`reference-mismatch`) unless a source of this rate and these channels fits the recording's."""
    if source_rate != sample_rate:
        raise mismatch(stem, f"has {source_rate} Hz; the recording has {sample_rate} Hz")
    if source_channels not in (1, num_channels):
        raise mismatch(stem, f"has {source_channels} channels; the recording has {num_channels}")


def mismatch(stem: str, how: str) -> InputError:
    """The error `reference-mismatch`; `how` goes on after the source's name."""
    return InputError(f"the true source of {stem!r} {how}", code="reference-mismatch", stem=stem)


def check_samples(samples: Samples, num_channels: int | None = None) -> None:
    """Raises ValueError unless `samples` is float32 `(C, T)` with C ≥ 1 (and C = `num_channels` where given)."""
    if samples.dtype != np.float32:
        raise ValueError(f"samples must be float32, not {samples.dtype}")
    if samples.ndim != 2 or samples.shape[0] < 1:
        raise ValueError(f"samples must have shape (channels, samples), not {samples.shape}")
    if num_channels is not None and samples.shape[0] != num_channels:
        raise ValueError(f"samples have {samples.shape[0]} channels, expected {num_channels}")


# Vorbis and Opus number their channels differently from everyone else (Vorbis I specification, section 4.3.9; RFC 7845,
# section 5.1.1.2). WAV order: front left, front right, centre, LFE, back, side. For each channel in Vorbis order, its
# place in WAV order; counts that are not named are equal in both, or undefined.
_WAV_PLACE_OF_VORBIS_CHANNEL = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}


def vorbis_from_wav_order(num_channels: int) -> list[int] | None:
    """Indices that pick a Vorbis-ordered signal out of a WAV-ordered one; None: the orders are equal."""
    return _WAV_PLACE_OF_VORBIS_CHANNEL.get(num_channels)


def wav_from_vorbis_order(num_channels: int) -> list[int] | None:
    """Indices that pick a WAV-ordered signal out of a Vorbis-ordered one; None: the orders are equal."""
    places = _WAV_PLACE_OF_VORBIS_CHANNEL.get(num_channels)
    return None if places is None else sorted(range(num_channels), key=places.__getitem__)


def to_fixed_point(samples: Samples, bits: int) -> tuple[NDArray[np.int32], int]:
    """Rounds to the nearest step and clips at full scale. No dither: the stems must add up to the input again.

    Args:
        samples: float32 `(C, n)`, full scale ±1.
        bits: word length, 16 or 24; one step is 2^(1 - bits).

    Returns:
        int32 `(C, n)` within −2^(bits−1) … 2^(bits−1) − 1, and how many samples lay beyond ±1.
        (+1 exactly has no word of its own: it takes the highest one, a step below, and does not count.)
    """
    half_scale = 1 << (bits - 1)
    # float32 holds every 24-bit word exactly, so the product is exact and the only rounding is rint's.
    scaled = np.rint(samples * np.float32(half_scale))
    num_clipped = int(np.count_nonzero(np.abs(samples) > 1.0))
    # The upper end is clipped after the conversion: 2^23 − 1 is a float32, 2^31 − 1 would not be.
    np.clip(scaled, -half_scale, half_scale, out=scaled)
    words = scaled.astype(np.int32)
    np.minimum(words, half_scale - 1, out=words)
    return words, num_clipped


def as_held(samples: Samples, bits: int | None) -> NDArray[np.float64]:
    """What a lossless file holds of float32 `(C, n)`: rounded to `bits` and cut at full scale; None: floats."""
    if bits is None:
        return samples.astype(np.float64)
    return to_fixed_point(samples, bits)[0] / (1 << (bits - 1))


class SampleQueue:
    """Samples that wait: blocks of any length go in, stretches of a wanted length come out, first in, first out, along
    the last axis. Nothing is copied twice.

    Args:
        axes: sizes of all axes but the last, such as (C,).
    """

    def __init__(self, *axes: int) -> None:
        self.axes = axes
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._length = 0

    def __len__(self) -> int:
        """Samples that wait."""
        return self._length

    def push(self, block: NDArray[np.float32]) -> None:
        """Takes float32 (*axes, n), n ≥ 0; the block is kept, not copied."""
        if block.shape[:-1] != self.axes:
            raise ValueError(f"a block of shape {block.shape} does not continue {self.axes}")
        if block.shape[-1]:
            self._blocks.append(block)
            self._length += block.shape[-1]

    def pop(self, length: int) -> NDArray[np.float32]:
        """The first `length` samples, float32 (*axes, length). Raises ValueError when fewer wait."""
        if length > self._length:
            raise ValueError(f"{length} samples asked for, {self._length} wait")
        parts = []
        missing = length
        while missing:
            block = self._blocks.popleft()
            parts.append(block[..., :missing])
            if block.shape[-1] > missing:
                self._blocks.appendleft(block[..., missing:])
            missing -= parts[-1].shape[-1]
        self._length -= length
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=-1) if parts else np.zeros((*self.axes, 0), np.float32)


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    """T' = T · to / from, rounded half up in integers (floats would err on hours of audio)."""
    return (2 * num_samples * to_rate + from_rate) // (2 * from_rate)


class StreamResampler:
    """Resamples with soxr's high quality (linear phase, 20 bit), block by block, in flat memory.

    Args:
        num_channels: C of every block.
        from_rate: rate of the blocks in Hz.
        to_rate: wanted rate in Hz.
    """

    def __init__(self, num_channels: int, from_rate: int, to_rate: int) -> None:
        self._num_channels = num_channels
        self._from_rate = from_rate
        self._to_rate = to_rate
        self._taken = 0
        self._given = 0
        self._stream = None
        if from_rate != to_rate:
            import soxr  # not at the top: the child that inspects imports this module for every upload

            self._stream = soxr.ResampleStream(from_rate, to_rate, num_channels, dtype="float32", quality="HQ")

    def push(self, block: Samples, *, is_last: bool = False) -> Samples:
        """Takes a block, gives what is ready.

        Args:
            block: float32 `(C, n)`, n may be 0.
            is_last: no block follows; what the filter still holds is given out.

        Returns:
            float32 `(C, m)`; over all calls m adds up to `resampled_length` of the samples taken.
        """
        check_samples(block, self._num_channels)
        self._taken += block.shape[1]
        if self._stream is None:
            return block
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=is_last).T
        left = resampled_length(self._taken, self._from_rate, self._to_rate) - self._given
        if is_last:
            ready = fit_length(ready, left)
        self._given += ready.shape[1]
        return np.ascontiguousarray(ready)


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """All samples at once, as `StreamResampler` does; a copy where the rates are equal."""
    return StreamResampler(len(samples), from_rate, to_rate).push(samples.copy(), is_last=True)


def fit_length(samples: Samples, length: int) -> Samples:
    """Cut, or padded with zeros, to `length` samples: soxr's own count may differ from the rounded one by a sample."""
    missing = length - samples.shape[1]
    if missing > 0:
        samples = np.pad(samples, ((0, 0), (0, missing)))
    return np.ascontiguousarray(samples[:, :length])
