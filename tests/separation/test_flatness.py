from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.survey import NOISE, local_flatness


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("num_channels", [1, 6])
def test_noise_of_any_colour_is_flat(num_channels, sample_rate, noise) -> None:
    white = noise(num_channels, sample_rate // 2)
    assert local_flatness(white, sample_rate) == pytest.approx(0.56, abs=0.05)
    red = np.cumsum(white, axis=1, dtype=np.float64).astype(np.float32)
    assert local_flatness(red, sample_rate) > NOISE


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("hiss", [0.0, 0.1])
def test_tones_are_not_even_with_vibrato_and_hiss(hiss, sample_rate, noise) -> None:
    times = np.arange(sample_rate // 2) / sample_rate
    vibrato = 0.02 * np.sin(2 * np.pi * 6 * times)
    chord = sum(
        np.sin(2 * np.pi * tone_hz * k * (times + vibrato / 40)) / k for tone_hz in (130, 196, 330) for k in (1, 2, 3)
    )
    samples = (0.1 * chord)[None].astype(np.float32) + hiss * noise(1, len(times))
    assert local_flatness(samples, sample_rate) < NOISE / 2


def test_the_loudest_channel_decides(noise) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)[None].astype(np.float32)
    assert local_flatness(np.concatenate([0.01 * noise(1, 8000), tone]), 16_000) < NOISE / 2


@pytest.mark.parametrize("num_samples", [1, 10, 8000])
def test_silence_is_no_noise(num_samples) -> None:
    assert local_flatness(np.zeros((2, num_samples), np.float32), 16_000) == 0
