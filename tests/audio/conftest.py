"""Recordings made by code, good and bad, for the tests of the audio room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.recording import AudioLimits, Samples

MakeFile = Callable[..., Path]


def make_samples(num_channels: int, num_samples: int, seed: int = 0) -> Samples:
    """A few sine waves and some noise within ±0.9: float32 `(C, T)`, a different pitch in each channel."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / 44_100
    pitches = 220 * (1 + np.arange(num_channels))[:, None]
    return (0.7 * np.sin(2 * np.pi * pitches * time) + rng.uniform(-0.2, 0.2, (num_channels, num_samples))).astype("f4")


@pytest.fixture
def limits() -> AudioLimits:
    return AudioLimits(max_duration_seconds=60, max_channels=8, inspect_seconds=20)


@pytest.fixture
def samples_of() -> Callable[..., Samples]:
    return make_samples


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Writes samples with libsndfile, in a format of our choice, under a name that says nothing."""
    count = 0

    def make(
        container: str = "WAV",
        codec: str | None = None,
        *,
        sample_rate: int = 44_100,
        num_channels: int = 2,
        num_samples: int = 20_000,
        samples: np.ndarray | None = None,
    ) -> Path:
        nonlocal count
        count += 1
        if samples is None:
            samples = make_samples(num_channels, num_samples)
        path = tmp_path / f"recording_{count}"
        soundfile.write(path, samples.T, sample_rate, subtype=codec, format=container)
        return path

    return make


@pytest.fixture
def write_bytes(tmp_path: Path) -> Callable[[bytes], Path]:
    count = 0

    def write(content: bytes) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / f"bytes_{count}"
        path.write_bytes(content)
        return path

    return write
