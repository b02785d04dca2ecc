"""What is known of a recording (AudioFacts), what is allowed of one (AudioLimits), and the check of one against the
other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from divisi.contract.errors import InputError

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
