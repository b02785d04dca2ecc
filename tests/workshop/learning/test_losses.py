"""Losses prefer what is right."""

import pytest
import torch

from divisi_workshop.learning.losses import (
    energy_loss,
    magnitude_loss,
    masked,
    pitch_loss,
    pitch_targets,
    presence_loss,
)
from divisi_workshop.networks.pitch_tracker import PITCH_COUNT, PitchDecoder


def spectra(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), torch.randn(*shape, generator=generator)


def test_the_best_mask_reaches_the_soft_threshold_and_an_even_one_does_not() -> None:
    sources = spectra(1, 1, 2, 65, 9)
    apart = torch.zeros(1, 2, 65, 9)
    apart[:, 0, :30] = 1
    apart[:, 1, 30:] = 1
    sources = (sources[0] * apart, sources[1] * apart)
    mixture = (sources[0].sum(1), sources[1].sum(1))
    best, even = masked(apart, mixture), masked(torch.full_like(apart, 0.5), mixture)
    assert energy_loss(best, mixture, sources) == pytest.approx(-30, abs=0.1)
    assert energy_loss(even, mixture, sources) > -8
    assert magnitude_loss(best, sources) < magnitude_loss(even, sources)


def test_energy_given_to_a_silent_voice_costs() -> None:
    mixture = spectra(2, 1, 65, 9)
    sources = (torch.stack([mixture[0], 0 * mixture[0]], 1), torch.stack([mixture[1], 0 * mixture[1]], 1))
    masks = torch.zeros(1, 2, 65, 9)
    masks[:, 0] = 1
    clean = energy_loss(masked(masks, mixture), mixture, sources)
    masks[:, 1] = 0.3
    assert energy_loss(masked(masks, mixture), mixture, sources) > clean + 5


def test_gradients_stay_finite_where_everything_is_silent() -> None:
    masks = torch.full((1, 4, 65, 9), 0.25, requires_grad=True)
    silent, mixture = (torch.zeros(1, 4, 65, 9),) * 2, spectra(3, 1, 65, 9)
    estimates = masked(masks, mixture)
    (energy_loss(estimates, mixture, silent) + magnitude_loss(estimates, silent)).backward()
    assert masks.grad is not None
    assert torch.isfinite(masks.grad).all()


def test_targets_are_distributions_whose_decoding_is_the_true_pitch() -> None:
    f0_hz = torch.tensor([[[440.0, 0.0], [100.0, 301.7], [65.0, 0.0], [900.0, 222.2]]])
    targets = pitch_targets(f0_hz)
    assert targets.shape == (1, 4, PITCH_COUNT + 1, 2)
    assert torch.allclose(targets.sum(2), torch.ones(1, 4, 2))
    decoded, voicing = PitchDecoder()(torch.log(targets + 1e-9))
    voiced = f0_hz > 0
    assert torch.equal(voicing > 0.5, voiced)
    assert (1200 * torch.log2(decoded[voiced] / f0_hz[voiced])).abs().max() < 5


def test_the_true_pitch_costs_less_than_its_neighbour() -> None:
    f0_hz = torch.full((1, 4, 3), 220.0)
    right = torch.log(pitch_targets(f0_hz) + 1e-6)
    wrong = torch.log(pitch_targets(f0_hz * 1.06) + 1e-6)
    assert pitch_loss(right, f0_hz) < pitch_loss(wrong, f0_hz)


def test_who_sings_counts_among_voices_of_the_roster_that_sing_for_long_or_not_at_all() -> None:
    f0_hz = torch.zeros(1, 4, 20)
    f0_hz[0, 0] = 220.0
    f0_hz[0, 1, 0] = 220.0  # hardly: neither present nor absent
    roster = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    right = torch.tensor([[20.0, -20.0, -20.0, 20.0]], requires_grad=True)
    loss = presence_loss(right, f0_hz, roster)
    assert loss < 1e-6
    loss.backward()
    assert right.grad is not None
    assert right.grad[0, [1, 3]].tolist() == [0, 0]
    assert presence_loss(-right, f0_hz, roster) > 10
    assert presence_loss(right, f0_hz, torch.zeros(1, 4)) == 0
