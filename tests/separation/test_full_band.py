from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from divisi.audio.recording import resample
from divisi.separation.full_band import Analysis, BandPlan, FullBand, Synthesis, window_length_near
from divisi.separation.survey import survey

SECONDS = 3.0
MODEL_RATE = 16_000
# Of the sources' level 0.1: 50 dB below. What short-time spectra and resampling filters leave at a second's distance
# from the recording's ends.
CLOSE = 3e-4
# Rounding of two transforms in single precision, for samples of deviation 0.1.
ROUNDING = 1e-6


def chord(fundamental: float, sample_rate: int, seconds: float = SECONDS) -> np.ndarray:
    """Four partials of about 0.1 together, sampled at any rate: the same sound, float32 (T,)."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return sum(0.05 / k * np.sin(2 * np.pi * fundamental * k * times) for k in (1, 2, 3, 4)).astype(np.float32)


def plan(sample_rate: int, num_channels: int, **fields) -> BandPlan:
    standard = {
        "model_rate": MODEL_RATE,
        "model_channels": 1,
        "num_stems": 2,
        "mask_exponent": 1.0,
        "selected": [0, 1],
    }
    return BandPlan(sample_rate=sample_rate, num_channels=num_channels, **(standard | fields))


def stems_of(band: BandPlan, mixture: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    weights = None
    if band.model_channels < band.num_channels:
        weights = survey([mixture], band.sample_rate, band.num_channels).downmix_weights
    full_band = FullBand(band, weights)
    full_band.push_mixture(mixture)
    return full_band.push_estimates(estimates, is_last=True)


def inner(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without a second at each end."""
    return samples[..., sample_rate:-sample_rate]


@pytest.mark.parametrize("sample_rate", [8000, 22_050, 44_100, 48_000, 96_000])
def test_stems_of_a_mono_recording_are_the_estimates_at_its_rate(sample_rate) -> None:
    pitches = (220.0, 330.0)
    sources = np.stack([chord(pitch, sample_rate) for pitch in pitches])
    # The network takes one for the other in part; its mistakes are delivered as they are, no mask is put on them.
    blend = np.array([[0.9, 0.3], [0.1, 0.7]], np.float32)
    estimates = blend @ np.stack([chord(pitch, MODEL_RATE) for pitch in pitches])
    stems = stems_of(plan(sample_rate, 1), sources.sum(axis=0, keepdims=True), estimates[:, None])
    assert stems.dtype == np.float32
    np.testing.assert_allclose(inner(stems[:, 0], sample_rate), inner(blend @ sources, sample_rate), atol=CLOSE)


def panned(gains: np.ndarray, sample_rate: int) -> np.ndarray:
    """Images of two chords, float32 (2, C, T), of a recording that gives them these gains (2, C)."""
    sources = np.stack([chord(220.0, sample_rate), chord(311.0, sample_rate)])
    return (gains[:, :, None] * sources[:, None]).astype(np.float32)


@pytest.mark.parametrize("num_channels", [2, 6])
def test_each_stem_stands_where_its_source_stood(num_channels) -> None:
    gains = np.random.default_rng(3).uniform(0, 1, (2, num_channels)).astype(np.float32)
    images = panned(gains, 44_100)
    estimates = panned(gains.mean(axis=1, keepdims=True), MODEL_RATE)
    stems = stems_of(plan(44_100, num_channels), images.sum(axis=0), estimates)
    np.testing.assert_allclose(inner(stems, 44_100), inner(images, 44_100), atol=10 * CLOSE)


def test_a_stem_is_silent_in_a_channel_where_its_source_is() -> None:
    images = panned(np.eye(2), 44_100)
    estimates = panned(np.full((2, 1), 0.5), MODEL_RATE)
    stems = stems_of(plan(44_100, 2), images.sum(axis=0), estimates)
    assert np.abs(inner(stems[0, 1], 44_100)).max() < 10 * CLOSE


def test_channels_tell_apart_what_the_network_could_not() -> None:
    """Two voices of noise, each in its own channel, that come and go; estimates that leak by 12 dB."""
    generator = np.random.default_rng(0)
    spectra = np.fft.rfft(generator.standard_normal((2, 8 * MODEL_RATE)))
    spectra[:, 6000 * 8 :] = 0
    comes_and_goes = np.repeat(generator.uniform(0, 1, (2, 16)) ** 2, MODEL_RATE // 2, axis=1)
    sources = (0.1 * np.fft.irfft(spectra) * comes_and_goes).astype(np.float32)
    leaking = ((sources + 0.25 * sources[::-1]) / 1.25 / 2)[:, None]
    native = resample(sources, MODEL_RATE, 44_100)
    images = np.eye(2, dtype=np.float32)[:, :, None] * native[:, None]
    stems = stems_of(plan(44_100, 2), native, leaking)
    leak = np.square(inner(stems[0, 1], 44_100)).sum() / np.square(inner(images[1, 1], 44_100)).sum()
    assert 10 * np.log10(leak) < -20


def test_stems_add_up_to_the_recording_when_the_estimates_add_up_to_its_downmix() -> None:
    images = panned(np.array([[1, 0.2], [0.3, 0.8]]), 44_100)
    estimates = panned(np.array([[0.6], [0.55]]), MODEL_RATE)
    mixture = images.sum(axis=0)
    stems = stems_of(plan(44_100, 2), mixture, estimates)
    np.testing.assert_allclose(inner(stems.sum(axis=0), 44_100), inner(mixture, 44_100), atol=CLOSE)


def test_what_the_network_leaves_out_stays_out_of_every_stem() -> None:
    images = panned(np.array([[1, 1], [1, 1]]), 44_100)
    estimates = panned(np.array([[1.0], [0.0]]), MODEL_RATE)
    stems = stems_of(plan(44_100, 2), images.sum(axis=0), estimates)
    np.testing.assert_allclose(inner(stems.sum(axis=0), 44_100), inner(images[0], 44_100), atol=10 * CLOSE)


def test_above_the_band_each_moment_goes_to_whom_the_top_of_the_band_belongs() -> None:
    rate, generator = 48_000, np.random.default_rng(0)
    hiss = (0.1 * generator.standard_normal((2, rate * 2))).astype(np.float32)
    hiss[0, rate:] = 0
    hiss[1, :rate] = 0
    spectrum = np.fft.rfft(hiss)
    heard = np.fft.irfft(spectrum[:, : MODEL_RATE + 1], 2 * MODEL_RATE).astype(np.float32) / 3
    stems = stems_of(plan(rate, 1), hiss.sum(axis=0, keepdims=True), heard[:, None])
    high = np.fft.irfft(np.fft.rfft(stems[:, 0]) * (np.arange(rate + 1) > 20_000), 2 * rate)
    energies = np.square(high).reshape(2, 2, rate).sum(axis=-1)
    assert energies[0, 0] > 100 * energies[1, 0]
    assert energies[1, 1] > 100 * energies[0, 1]


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_silent_estimates_give_silent_stems(num_channels, sample_rate, noise) -> None:
    mixture = noise(num_channels, sample_rate)
    stems = stems_of(plan(sample_rate, num_channels), mixture, np.zeros((2, 1, MODEL_RATE), np.float32))
    assert not stems.any()


@pytest.mark.parametrize("num_channels", [1, 2])
def test_digital_silence_gives_silence(num_channels) -> None:
    mixture = np.zeros((num_channels, 44_100), np.float32)
    assert not stems_of(plan(44_100, num_channels), mixture, np.zeros((2, 1, MODEL_RATE), np.float32)).any()


def test_a_network_that_hears_all_channels_gives_the_images_itself() -> None:
    gains = np.array([[0.9, 0.2], [0.4, 0.7]])
    images = panned(gains, 44_100)
    stems = stems_of(plan(44_100, 2, model_channels=2), images.sum(axis=0), panned(gains, MODEL_RATE))
    np.testing.assert_allclose(inner(stems, 44_100), inner(images, 44_100), atol=CLOSE)


def test_only_the_selected_stems_are_made() -> None:
    images = panned(np.array([[1, 0.2], [0.3, 0.8]]), 44_100)
    estimates = panned(np.array([[0.6], [0.55]]), MODEL_RATE)
    both = stems_of(plan(44_100, 2), images.sum(axis=0), estimates)
    second = stems_of(plan(44_100, 2, selected=[1]), images.sum(axis=0), estimates)
    np.testing.assert_array_equal(second, both[1:])


@pytest.mark.parametrize("num_samples", [1, 2, 441, 44_099, 44_101])
def test_stems_are_as_long_as_the_recording(num_samples, noise) -> None:
    num_model_samples = round(num_samples * MODEL_RATE / 44_100)
    estimates = np.zeros((2, 1, num_model_samples), np.float32)
    assert stems_of(plan(44_100, 2), noise(2, num_samples), estimates).shape == (2, 2, num_samples)


def test_blocks_of_any_length_give_the_same_stems(noise) -> None:
    mixture = noise(2, 100_000)
    estimates = noise(2, 36_281, seed=1)[:, None]
    whole = stems_of(plan(44_100, 2), mixture, estimates)

    def in_blocks(length: int) -> Iterator[np.ndarray]:
        full_band = FullBand(plan(44_100, 2), survey([mixture], 44_100, 2).downmix_weights)
        full_band.push_mixture(mixture)
        for start in range(0, estimates.shape[-1], length):
            yield full_band.push_estimates(estimates[..., start : start + length])
        yield full_band.push_estimates(estimates[..., :0], is_last=True)

    np.testing.assert_array_equal(np.concatenate([*in_blocks(5000)], axis=-1), whole)


def test_what_is_not_changed_comes_back_three_hops_later(noise) -> None:
    hop_length = 16
    samples = noise(2, 64 * hop_length)
    analysis, synthesis = Analysis(64, 2), Synthesis(64, 2)
    chunks = np.split(samples, [5 * hop_length, 6 * hop_length, 40 * hop_length], axis=1)
    whole = np.concatenate([synthesis.push(analysis.push(chunk)) for chunk in chunks], axis=1)
    np.testing.assert_allclose(whole[:, 48:], samples[:, :-48], atol=ROUNDING)
    np.testing.assert_allclose(whole[:, :48], 0, atol=ROUNDING)


def test_spectra_stay_in_single_precision(noise) -> None:
    spectra = Analysis(64, 3).push(noise(3, 160))
    assert (spectra.dtype, spectra.shape) == (np.complex64, (3, 10, 33))
    assert Synthesis(64, 3).push(spectra).dtype == np.float32


@pytest.mark.parametrize(("samples", "length"), [(2048, 2048), (5644.8, 5632), (6144, 6144), (3, 16), (128.5, 128)])
def test_window_lengths_are_near_and_fast(samples, length) -> None:
    assert window_length_near(samples) == length
