"""Reading and writing along harmonics, apart from what is learned."""

import torch

from divisi_workshop.networks.harmonic_mask import COMB_BINS, HARMONIC_COUNT, HarmonicMask, band_interpolation, sample

BIN_WIDTH_HZ = 16_000 / 2048


def small_mask() -> HarmonicMask:
    torch.manual_seed(0)
    return HarmonicMask(1025, BIN_WIDTH_HZ, channels=8, detail_channels=8, band_hidden=8).eval()


def test_the_shares_of_the_voices_sum_to_one() -> None:
    f0_hz = torch.tensor([440.0, 330.0, 220.0, 110.0])[None, :, None].expand(2, 4, 6)
    masks, _ = small_mask()(
        torch.randn(2, 1025, 6), torch.randn(2, 640, 6), f0_hz, torch.ones(2, 4, 6), torch.ones(2, 4)
    )
    assert masks.shape == (2, 4, 1025, 6)
    assert (masks >= 0).all()
    assert torch.allclose(masks.sum(1), torch.ones(2, 1025, 6), atol=1e-5)


def test_an_absent_voice_has_no_share() -> None:
    f0_hz = torch.full((1, 4, 6), 200.0)
    roster = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    masks, _ = small_mask()(torch.randn(1, 1025, 6), torch.randn(1, 640, 6), f0_hz, torch.ones(1, 4, 6), roster)
    assert masks[:, 2].max() < 1e-6


def test_a_spectrum_is_read_between_its_bins_and_not_beyond_them() -> None:
    ramp = torch.arange(20.0)[None, :, None]
    position = torch.tensor([0.0, 3.25, 7.5, 100.0])[None, None, :, None]
    assert torch.allclose(sample(ramp, position).flatten(), torch.tensor([0.0, 3.25, 7.5, 18.0]))


def test_an_octave_collides_at_every_second_partial_of_the_lower_voice() -> None:
    f0_hz = torch.tensor([400.0, 1000.0, 1000.0, 200.0])[None, :, None]
    voicing = torch.tensor([1.0, 0.0, 0.0, 1.0])[None, :, None]
    _, collision, partner = small_mask().read_harmonics(torch.zeros(1, 1025, 1), torch.zeros(1, 640, 1), f0_hz, voicing)
    bass_with_soprano = collision[0, 3, 0, :, 0]
    assert (bass_with_soprano[1::2] > 0.99).all()
    assert (bass_with_soprano[0::2] < 0.01).all()
    assert partner[0, 3, 0, 1::2, 0].tolist()[:3] == [0, 1, 2]
    assert (collision[0, 3, 3] == 0).all()


def test_answers_are_written_at_their_partials_and_fade_out_halfway() -> None:
    answers = torch.ones(1, 4, 3, HARMONIC_COUNT, 1)
    f0_hz = torch.full((1, 4, 1), 40 * BIN_WIDTH_HZ)
    combed = small_mask().comb(answers, f0_hz, torch.ones(1, 4, 1))
    assert combed.shape == (1, 4, 3, COMB_BINS, 1)
    assert torch.allclose(combed[0, 0, :, 80, 0], torch.ones(3))
    assert (combed[0, 0, :, 100, 0] < 1e-6).all()


def test_bands_share_every_bin_out_completely() -> None:
    assert torch.allclose(band_interpolation(1025, BIN_WIDTH_HZ, 32).sum(1), torch.ones(1025), atol=1e-5)
