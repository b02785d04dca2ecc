"""The matrix-product STFT is the STFT."""

import pytest
import torch

from divisi_workshop.networks.spectral import ShortTimeFourier, compress

FLOAT32_TOLERANCE = 1e-5  # sums of a few thousand float32 products of order one


@pytest.mark.parametrize("window_length", [2048, 4096])
def test_it_equals_the_stft_of_torch(window_length: int) -> None:
    fourier = ShortTimeFourier(window_length, 512)
    signal = torch.randn(2, 512 * 9, generator=torch.Generator().manual_seed(1))
    real, imag = fourier.analyse(signal)
    expected = fourier.scale * torch.stft(
        signal,
        window_length,
        512,
        window=torch.hann_window(window_length),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    assert real.shape == (2, window_length // 2 + 1, 10)
    assert (real - expected.real).abs().max() < FLOAT32_TOLERANCE
    assert (imag - expected.imag).abs().max() < FLOAT32_TOLERANCE


@pytest.mark.parametrize("block_count", [1, 2, 5, 40])
def test_a_signal_survives_the_round_trip_to_its_very_ends(block_count: int) -> None:
    fourier = ShortTimeFourier(2048, 512)
    signal = torch.randn(3, 512 * block_count, generator=torch.Generator().manual_seed(2))
    returned = fourier.synthesise(*fourier.analyse(signal))
    assert returned.shape == signal.shape
    assert (returned - signal).abs().max() < FLOAT32_TOLERANCE


def test_a_sine_of_amplitude_one_has_magnitude_one_at_its_bin() -> None:
    fourier = ShortTimeFourier(2048, 512)
    time = torch.arange(512 * 16) / 16_000
    real, imag = fourier.analyse(torch.sin(2 * torch.pi * 1000.0 * time)[None])
    magnitude = torch.sqrt(real.square() + imag.square())[0, :, 8]
    assert magnitude.argmax() == 128
    assert magnitude[128] == pytest.approx(1.0, abs=1e-3)


def test_a_window_that_the_hop_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of hop 600"):
        ShortTimeFourier(2048, 600)


def test_compression_of_silence_is_finite_and_flat() -> None:
    silent = compress(torch.zeros(4), torch.zeros(4))
    assert torch.isfinite(silent).all()
    assert silent.unique().numel() == 1
