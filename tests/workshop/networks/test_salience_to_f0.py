"""The links from salience to F0, with the published faults where they belong and without them elsewhere."""

import math

import pytest
import torch

from divisi_workshop.published.salience_to_f0 import Link, LinkConfig, SalienceToF0

FREQUENCIES_HZ = 32.7 * 2 ** (torch.arange(360, dtype=torch.float64) / 60)
MENDED = LinkConfig(Link.REFINED, sums_low_bins=False)


def salience_at(*bins: int, height: float = 0.9) -> torch.Tensor:
    """One voice, one frame for each bin. Shape: (1, 4, 360, frames)."""
    salience = torch.full((1, 4, 360, len(bins)), 0.01)
    for frame, place in enumerate(bins):
        salience[:, :, place, frame] = height
    return salience


def test_the_published_link_hands_every_bin_the_same_gradient() -> None:
    salience = salience_at(200).requires_grad_()
    f0_hz = SalienceToF0(FREQUENCIES_HZ)(salience)
    assert f0_hz[0, 0, 0].item() == pytest.approx(FREQUENCIES_HZ[200].item(), rel=1e-5)
    f0_hz.sum().backward()
    assert salience.grad is not None
    assert (salience.grad == 1).all()


def test_the_mended_link_has_gradients_near_the_pitch_alone_that_pull_both_ways() -> None:
    salience = salience_at(200).requires_grad_()
    SalienceToF0(FREQUENCIES_HZ, MENDED)(salience)[0, 0, 0].backward()
    assert salience.grad is not None
    gradient = salience.grad[0, 0, :, 0]
    assert gradient.nonzero().flatten().tolist() == [199, 201] or gradient[[199, 201]].tolist() != [0, 0]
    assert gradient[199] < 0 < gradient[201]
    assert (gradient[:199] == 0).all()
    assert (gradient[202:] == 0).all()


@pytest.mark.parametrize(("sung_hz", "published_hz"), [(75.1, 151.1), (66.2, 133.1)])
def test_low_basses_come_out_wrong_in_the_published_way_alone(sung_hz: float, published_hz: float) -> None:
    place = int((FREQUENCIES_HZ - sung_hz).abs().argmin())
    published = SalienceToF0(FREQUENCIES_HZ)(salience_at(place))[0, 3, 0].item()
    mended = SalienceToF0(FREQUENCIES_HZ, MENDED)(salience_at(place))[0, 3, 0].item()
    assert published == pytest.approx(published_hz, abs=0.2)
    assert mended == pytest.approx(sung_hz, abs=0.2)


def test_exactly_57_bins_are_wrong_in_the_published_link() -> None:
    link = SalienceToF0(FREQUENCIES_HZ)
    assert int((link.hard_hz / FREQUENCIES_HZ > 1.01).sum()) == 57


@pytest.mark.parametrize("link", list(Link))
def test_both_links_know_silence_and_the_pitch_of_the_best_bin(link: Link) -> None:
    find_f0 = SalienceToF0(FREQUENCIES_HZ, LinkConfig(link, sums_low_bins=False))
    assert (find_f0(salience_at(180, height=0.12)).abs() < 1e-3).all()
    f0_hz = find_f0(salience_at(180, 240))
    assert torch.allclose(f0_hz[0, 0].double(), FREQUENCIES_HZ[[180, 240]], rtol=1e-4)


def test_a_pitch_between_two_bins_is_found_between_them() -> None:
    salience = salience_at(180)
    salience[:, :, 181] = 0.88
    found = SalienceToF0(FREQUENCIES_HZ, MENDED)(salience)[0, 0, 0].item()
    assert found == pytest.approx((FREQUENCIES_HZ[180] * FREQUENCIES_HZ[181]).sqrt().item(), rel=1e-3)


@pytest.mark.parametrize("offset", [-0.45, -0.2, 0.1, 0.25, 0.4])
def test_the_top_of_a_ridge_is_where_its_pitch_is(offset: float) -> None:
    place = 200 + offset
    ridge = torch.exp(-0.5 * (torch.arange(360.0) - place).square())
    salience = (0.8 * ridge)[None, None, :, None].expand(1, 4, 360, 1)
    f0_hz = SalienceToF0(FREQUENCIES_HZ, MENDED)(salience)[0, 0, 0].item()
    found = 60 * math.log2(f0_hz / 32.7)
    half_a_step = 0.125
    assert abs(found - place) <= half_a_step + 0.01


def test_the_map_of_chosen_bins_is_empty_where_a_voice_is_silent() -> None:
    salience = torch.cat([salience_at(200), salience_at(200, height=0.05)], dim=3)
    chosen = SalienceToF0(FREQUENCIES_HZ, MENDED).one_hot(salience)
    assert chosen.shape == salience.shape
    assert chosen[0, 0, :, 0].nonzero().flatten().tolist() == [200]
    assert (chosen[..., 1] == 0).all()
