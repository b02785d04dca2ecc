"""The front end is the transform it claims to be, and mends what it says it mends."""

import math

import numpy as np
import pytest
import torch

from divisi_workshop.published.hcqt import Halver, Hcqt, HcqtConfig, RationalResampler

SMALL = HcqtConfig(
    sample_rate=16_000, hop_length=256, lowest_hz=110.0, bins_per_octave=24, bin_count=60, reflects_edges=False
)
# At lowered rates kernels last a whole number of fewer samples than in the definition at the full rate.
ROUNDING_TOLERANCE = 0.03


def noise(samples: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def constant_q(signal: np.ndarray, frequency_hz: float, frame: int, config: HcqtConfig) -> complex:
    """One value from the definition: Hann kernel of Q periods, L1-normalised, times the root of its length."""
    quality = 1 / (2 ** (1 / config.bins_per_octave) - 1)
    length = quality * config.sample_rate / frequency_hz
    times = np.arange(math.floor(-length / 2), math.floor(length / 2))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(times)) / len(times))
    kernel = window / window.sum() * np.exp(-2j * np.pi * frequency_hz / config.sample_rate * times)
    padded = np.pad(signal, len(times))
    centre = len(times) + frame * config.hop_length
    return complex(np.sum(padded[centre + times] * kernel) * np.sqrt(length))


@pytest.mark.parametrize("harmonic", [1, 2, 3, 5])
@pytest.mark.parametrize("bin_number", [0, 23, 36, 59])
def test_every_harmonic_and_octave_is_the_constant_q_transform(harmonic: int, bin_number: int) -> None:
    signal = noise(16_384)
    real, imag = Hcqt(SMALL)(signal)
    assert real.shape == (1, 5, 60, 64)
    frequency_hz = harmonic * SMALL.lowest_hz * 2 ** (bin_number / SMALL.bins_per_octave)
    for frame in (20, 41):
        expected = constant_q(signal[0].numpy(), frequency_hz, frame, SMALL)
        found = complex(real[0, harmonic - 1, bin_number, frame], imag[0, harmonic - 1, bin_number, frame])
        assert abs(found - expected) < ROUNDING_TOLERANCE * abs(expected) + 2e-2


def test_four_seconds_give_the_published_frames() -> None:
    real, imag = Hcqt(HcqtConfig())(noise(64_000))
    assert real.shape == imag.shape == (1, 5, 360, 344)


def test_a_tone_has_a_peak_at_its_pitch_in_every_harmonic() -> None:
    time = torch.arange(32_768) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 220.0 * k * time) for k in range(1, 6))
    assert isinstance(tone, torch.Tensor)
    hcqt = Hcqt(SMALL)
    levels = hcqt.levels_db(*hcqt(tone[None]))[0, :, :, 64]
    assert (levels[:, 24] > levels[:, 23]).all()
    assert (levels[:, 24] > levels[:, 25]).all()
    assert (levels[:, 24] > levels[:, 30] + 20).all()
    assert hcqt.frequencies_hz()[24] == pytest.approx(220.0)


def test_levels_of_a_recording_depend_on_its_batch_in_the_published_way_alone() -> None:
    loud, soft = noise(8_192, 1), 0.1 * noise(8_192, 2)
    for batch_reference in (True, False):
        hcqt = Hcqt(HcqtConfig(**{**vars(SMALL), "batch_reference": batch_reference}))
        alone = hcqt.levels_db(*hcqt(soft))
        together = hcqt.levels_db(*hcqt(torch.cat([loud, soft])))[1:]
        assert ((together - alone).abs().max() > 3) == batch_reference


def test_the_phase_of_a_steady_tone_falls_by_its_frequency_as_the_published_networks_expect() -> None:
    time = torch.arange(32_768) / 16_000
    hcqt = Hcqt(SMALL)
    steps = hcqt.phase_steps(*hcqt(torch.sin(2 * torch.pi * 220.0 * time)[None]))[0, 0, 24, 40:60]
    advance = 2 * math.pi * 220.0 * SMALL.hop_length / 16_000
    assert torch.allclose(torch.cos(steps + advance), torch.ones(20), atol=1e-3)


def test_resampling_keeps_a_tone_and_its_place() -> None:
    time = torch.arange(16_000) / 16_000
    resampled = RationalResampler(16_000, 22_050)(torch.sin(2 * torch.pi * 1000.0 * time)[None])[0]
    expected = torch.sin(2 * torch.pi * 1000.0 * torch.arange(22_050) / 22_050)
    assert resampled.shape == (22_050,)
    assert (resampled - expected)[200:-200].abs().max() < 1e-3


def test_halving_keeps_low_tones_and_silences_what_would_alias() -> None:
    time = torch.arange(8_000) / 16_000
    halve = Halver()
    low = halve(torch.sin(2 * torch.pi * 3_000.0 * time)[None])[0]
    expected = torch.sin(2 * torch.pi * 3_000.0 * torch.arange(4_000) / 8_000)
    assert (low - expected)[100:-100].abs().max() < 1e-3
    assert halve(torch.sin(2 * torch.pi * 5_500.0 * time)[None])[0, 100:-100].abs().max() < 1e-3
