"""Encoder, decoder and heads have the published sizes and ranges."""

from dataclasses import replace

import pytest
import torch

from divisi_workshop.published.source_filter import MixtureEncoder, SeparatorConfig, VoiceDecoder, positive, unit_pitch

SMALL = SeparatorConfig(encoder_hidden=8, embedding=4, decoder_hidden=8)


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_the_published_sizes_have_the_published_parameters() -> None:
    encoder, decoder = MixtureEncoder(SeparatorConfig()), VoiceDecoder(SeparatorConfig())
    heads = decoder.harmonic_amplitude, decoder.noise_gain, decoder.gaps, decoder.noise_spectrum
    assert count(encoder) == 1_218_434
    assert count(*heads) == 78_279
    assert count(decoder) - count(*heads) == 4_277_248
    assert count(encoder, decoder) == 5_573_961


@torch.no_grad()
def test_the_encoder_hears_frames_that_begin_every_256_samples() -> None:
    encoder = MixtureEncoder(SMALL).eval()
    mixture = torch.randn(2, 256 * 10)
    embedding = encoder(mixture)
    assert embedding.shape == (2, 10, 4)
    # A recurrent layer does not know what comes after its frame; the norm knows the whole, so it is kept equal here.
    encoder.norm.scale.zero_()
    assert torch.allclose(encoder(mixture)[0], encoder(torch.randn(2, 256 * 10))[0])


@torch.no_grad()
def test_the_level_of_a_mixture_does_not_reach_the_embedding() -> None:
    encoder = MixtureEncoder(SMALL).eval()
    mixture = torch.randn(1, 256 * 10)
    assert torch.allclose(encoder(mixture), encoder(0.01 * mixture), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("floor", "hears_rounding"), [(0.0, True), (1e-4, False)])
def test_what_rounding_leaves_in_empty_bins_is_heard_as_published_and_not_once_mended(
    floor: float, hears_rounding: bool
) -> None:
    torch.manual_seed(0)
    encoder = MixtureEncoder(replace(SMALL, magnitude_floor=floor)).eval()
    tone = torch.sin(2 * torch.pi * 1000 / 16000 * torch.arange(256.0 * 40))[None]
    # As two runtimes differ: in the last bit of every sample.
    other = tone + 1e-7 * torch.randn(tone.shape)
    assert ((encoder(tone) - encoder(other)).abs().max() > 1e-3) == hears_rounding
    if not hears_rounding:
        assert (encoder(tone) - encoder(other)).abs().max() < 1e-4


@torch.no_grad()
def test_silence_is_heard_without_infinities() -> None:
    assert torch.isfinite(MixtureEncoder(SMALL)(torch.zeros(1, 256 * 4))).all()


@torch.no_grad()
def test_all_controls_are_positive_and_of_the_published_shapes() -> None:
    controls = VoiceDecoder(SMALL)(torch.tensor([[0.0, 220.0, 440.0]]), torch.randn(1, 3, 4))
    assert controls.harmonic_amplitude.shape == controls.noise_gain.shape == (1, 3)
    assert controls.gaps.shape == (1, 3, 21)
    assert controls.noise_spectrum.shape == (1, 40)
    for values, largest in ((controls.harmonic_amplitude, 2.1), (controls.noise_gain, 1.1), (controls.gaps, 2.1)):
        assert ((values > 0) & (values < largest)).all()


def test_pitches_lie_on_a_scale_of_semitones() -> None:
    assert torch.allclose(unit_pitch(torch.tensor([20.0, 400.0, 8000.0])), torch.tensor([0.0, 0.5, 1.0]))
    assert unit_pitch(torch.zeros(1)) < -2


def test_the_activation_saturates_where_it_should() -> None:
    assert torch.allclose(positive(torch.tensor([-100.0, 100.0]), 2.0), torch.tensor([1e-7, 2.0]))
