"""The synthesiser: its cheap forms equal the published ones, its filters are the filters they should be."""

import math

import numpy as np
import pytest
import torch

from divisi_workshop.published.harmonic_bank import (
    AllPole,
    Bank,
    HarmonicBank,
    Recursion,
    Upsampler,
    half_overlapping,
    line_spectral_frequencies,
    overlap_halves,
    prediction_polynomial,
    regrid_pitch,
    resample_track,
)
from divisi_workshop.published.source_filter import (
    GlottalRolloff,
    NoiseColour,
    SourceFilter,
    SynthesiserConfig,
    VoiceControls,
)

HOP = 256
EXACT = 1e-5  # float32 sums of a hundred sines


def random_controls(rows: int, frames: int) -> VoiceControls:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    return VoiceControls(draw(rows, frames), 0.1 * draw(rows, frames), draw(rows, frames, 21) + 0.2, draw(rows, 40))


def moving_pitch(rows: int, frames: int) -> torch.Tensor:
    f0_hz = 100 + 500 * torch.rand(rows, frames, generator=torch.Generator().manual_seed(6))
    f0_hz[:, 3:5] = 0
    return f0_hz


@torch.no_grad()
def test_the_cheap_synthesiser_gives_the_published_samples() -> None:
    f0_hz, controls = moving_pitch(2, 12), random_controls(2, 12)
    cheap = SourceFilter().eval()
    published = SourceFilter(SynthesiserConfig(bank=Bank.SINES, recursion=Recursion.SAMPLES)).eval()
    expected = published(f0_hz, controls)
    assert expected.shape == (2, 12 * HOP)
    assert (cheap(f0_hz, controls) - expected).abs().max() < EXACT * expected.abs().max()


def test_the_sum_of_harmonics_has_the_gradient_of_the_bank() -> None:
    gradients = []
    for bank in Bank:
        f0_hz = torch.tensor([[220.0, 224.0, 230.0]], requires_grad=True)
        tone = HarmonicBank(16_000, HOP, bank)(f0_hz, torch.ones(1, 3))
        (tone * torch.linspace(-1, 1, 3 * HOP)).sum().backward()
        assert f0_hz.grad is not None
        gradients.append(f0_hz.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=2e-2)


@torch.no_grad()
def test_a_steady_pitch_sounds_all_its_harmonics_equally_loud() -> None:
    tone = HarmonicBank(16_000, HOP)(torch.full((1, 125), 250.0), torch.ones(1, 125))[0]
    spectrum = torch.fft.rfft(tone[:16_000]).abs() / 8_000
    peaks = spectrum[250:8_000:250]
    assert len(peaks) == 31
    assert torch.allclose(peaks, torch.full((31,), 1 / 31), rtol=0.02)
    assert spectrum.sum() == pytest.approx(1.0, abs=0.1)


@torch.no_grad()
def test_an_unvoiced_voice_has_no_tone() -> None:
    assert HarmonicBank(16_000, HOP)(torch.zeros(1, 8), torch.ones(1, 8)).abs().max() < 1e-3


def test_line_spectral_frequencies_give_a_stable_filter_of_minimum_phase() -> None:
    gaps = torch.rand(3, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.05
    frequencies = line_spectral_frequencies(gaps)
    assert (frequencies.diff(dim=1) > 0).all()
    assert frequencies.min() > 0
    assert frequencies.max() < math.pi
    for polynomial in prediction_polynomial(frequencies):
        assert polynomial[0] == pytest.approx(1.0)
        assert np.abs(np.roots(polynomial.numpy())).max() < 1


def test_evenly_spaced_frequencies_give_a_flat_filter() -> None:
    polynomial = prediction_polynomial(line_spectral_frequencies(torch.ones(1, 21, dtype=torch.float64)))
    assert torch.allclose(polynomial, torch.eye(21, dtype=torch.float64)[:1], atol=1e-10)


def test_both_recursions_and_the_definition_agree() -> None:
    generator = torch.Generator().manual_seed(2)
    gaps = torch.rand(1, 2, 21, dtype=torch.float64, generator=generator) + 0.02
    polynomials = prediction_polynomial(line_spectral_frequencies(gaps))
    frames = torch.randn(1, 2, 512, dtype=torch.float64, generator=generator)
    by_blocks = AllPole(Recursion.BLOCKS)(frames, polynomials)
    assert torch.allclose(by_blocks, AllPole(Recursion.SAMPLES)(frames, polynomials), atol=1e-9)
    for filtered, polynomial, frame in zip(by_blocks[0], polynomials[0], frames[0], strict=True):
        back = np.convolve(filtered.numpy(), polynomial.numpy())[:512]
        assert np.abs(back - frame.numpy()).max() < 1e-9


def test_the_glottal_slope_falls_by_six_decibels_an_octave_from_200_hz() -> None:
    impulse = torch.zeros(1, 1024)
    impulse[0, 512] = 1
    response = torch.fft.rfft(GlottalRolloff(16_000)(impulse)[0]).abs()
    decibels = 20 * torch.log10(response[[64, 128, 256]] / response[32])  # 1, 2 and 4 kHz against 500 Hz
    assert torch.allclose(decibels, torch.tensor([-6.0, -12.0, -18.0]), atol=1.0)


def test_coloured_noise_is_noise_through_a_filter_of_the_wanted_magnitudes() -> None:
    colour = NoiseColour(HOP)
    magnitudes = torch.linspace(1, 0.1, 40)[None]
    impulse = torch.zeros(1, 4 * HOP)
    impulse[0, 300] = 1
    response = colour(impulse, magnitudes)[0]
    assert response[300] == response.max()
    spectrum = torch.fft.rfft(response, 1024).abs()
    assert torch.allclose(spectrum[torch.arange(1, 39) * 512 // 39], magnitudes[0, 1:39], atol=0.03)
    noise = torch.randn(2, 4 * HOP, generator=torch.Generator().manual_seed(3))
    taps = response[300 - 39 : 300 + 39]
    expected = np.convolve(noise[1].numpy(), taps.numpy())[39 : 39 + 4 * HOP]
    assert np.abs(colour(noise, magnitudes.expand(2, -1))[1].numpy() - expected).max() < EXACT


@torch.no_grad()
def test_noise_is_drawn_anew_while_training_and_fixed_otherwise() -> None:
    synthesiser, f0_hz, controls = SourceFilter(), torch.zeros(2, 4), random_controls(2, 4)
    synthesiser.eval()
    first = synthesiser(f0_hz, controls)
    assert torch.equal(first, synthesiser(f0_hz, controls))
    assert not torch.equal(synthesiser.white_noise(first)[0], synthesiser.white_noise(first)[1])
    synthesiser.train()
    assert not torch.equal(synthesiser(f0_hz, controls), synthesiser(f0_hz, controls))


def test_envelopes_of_constant_frames_are_constant() -> None:
    upsample, frames = Upsampler(HOP), torch.ones(1, 5)
    fading, rising = upsample.neighbours(frames)
    assert torch.allclose(fading + rising, torch.ones(1, 5, HOP), atol=1e-6)
    assert torch.allclose(upsample.by_windows_from_start(frames), torch.ones(1, 5 * HOP), atol=1e-6)
    assert torch.allclose(upsample.linearly(frames.double()), torch.ones(1, 5 * HOP, dtype=torch.float64))


def test_half_overlapping_frames_sum_back_under_a_hann_window() -> None:
    signal = torch.randn(2, 6 * HOP)
    frames = half_overlapping(signal, HOP)
    assert frames.shape == (2, 6, 2 * HOP)
    back = overlap_halves(frames * torch.hann_window(2 * HOP))
    assert torch.allclose(back[:, HOP:], signal[:, HOP:], atol=1e-6)


def test_a_track_is_stretched_over_more_frames_as_torch_does() -> None:
    track = torch.rand(2, 344, generator=torch.Generator().manual_seed(4))
    expected = torch.nn.functional.interpolate(track[:, None], 250, mode="linear")[:, 0]
    assert torch.allclose(resample_track(track, 250), expected, atol=1e-3)  # torch's positions are float32


def test_pitches_glide_between_notes_but_not_into_silence() -> None:
    track = torch.tensor([[100.0, 200.0, 0.0, 300.0]])
    assert regrid_pitch(track, 2)[0].tolist() == [100, 150, 200, 0, 0, 300, 300, 300]
