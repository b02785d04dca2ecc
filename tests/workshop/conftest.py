"""Singers made of a few partials: enough for WORLD and for the loop, nobody's voice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, VOICES, Choir, Part

PITCHES_HZ = {"soprano": 440.0, "alto": 330.0, "tenor": 220.0, "bass": 110.0}


def tone(frequency_hz: float, seconds: float) -> np.ndarray:
    """A note of eight partials with vibrato. Shape: (T,) float, peak below 0.5."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * frequency_hz * time + 0.3 * np.sin(2 * np.pi * 5 * time)
    return 0.15 * sum(np.sin(k * phase) / k for k in range(1, 9))


def steady_part(voice: str, seconds: float, silent_from: float | None = None) -> Part:
    samples = tone(PITCHES_HZ[voice], seconds)
    f0_hz = np.full(int(seconds / LABEL_HOP_SECONDS) + 1, PITCHES_HZ[voice], dtype=np.float32)
    if silent_from is not None:
        samples[int(silent_from * SAMPLE_RATE) :] = 0
        f0_hz[int(silent_from / LABEL_HOP_SECONDS) :] = 0
    return Part(voice, (samples * 32767).astype(np.int16), f0_hz)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads on shared cores wait for each other more than they work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_tone() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture(scope="session")
def make_part() -> Callable[..., Part]:
    return steady_part


@pytest.fixture(scope="session")
def choir() -> Choir:
    return Choir(tuple((steady_part(voice, 6.0),) for voice in VOICES), quarter_seconds=0.5)


@pytest.fixture(scope="session")
def data_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny multitrack laid out as the real one, singers 1 and 4, with its labels: (data, cache)."""
    data, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    (data / "nino_dios").mkdir()
    (cache / "labels" / "nino_dios").mkdir(parents=True)
    for voice in VOICES:
        for singer in (1, 4):
            part = steady_part(voice, 9.0)
            soundfile.write(data / "nino_dios" / f"{voice}_{singer}.flac", part.samples, SAMPLE_RATE)
            np.save(cache / "labels" / "nino_dios" / f"{voice}_{singer}.npy", part.f0_hz)
    return data, cache
