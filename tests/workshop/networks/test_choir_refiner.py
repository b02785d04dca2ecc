"""The last stage of the flagship: any number of voices, none for the absent, and no change before it has learned."""

import pytest
import torch
from torch import Tensor

from divisi_workshop.networks.choir_refiner import REFINED_BINS, ChoirRefiner

BINS, FRAMES = REFINED_BINS + 20, 9
ROUNDING = 1e-5
"""Of spectra about 1 in float32, through some twenty layers."""


def refiner(has_learned: bool = True) -> ChoirRefiner:
    torch.manual_seed(5)
    network = ChoirRefiner(16_000 / 2048, 0.032, channels=12).eval()
    if has_learned:
        torch.nn.init.normal_(network.leave.weight, std=0.3)
        torch.nn.init.normal_(network.leave.bias, std=0.3)  # type: ignore[arg-type]
        for line in network.lines:
            torch.nn.init.normal_(line.answer.weight, std=0.3)  # type: ignore[union-attr]
    return network


class Heard:
    """What a refiner is given: estimates that sum to the mixture."""

    def __init__(self, voices: int, batch: int = 1, seed: int = 1, frames: int = FRAMES) -> None:
        random = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random)

        self.estimates = normal(batch, voices, BINS, frames), normal(batch, voices, BINS, frames)
        self.masks = torch.softmax(normal(batch, voices, BINS, frames), dim=1)
        self.f0_hz = 200 + 40 * normal(batch, voices, frames).clamp(-3, 3)
        self.voicing = torch.sigmoid(normal(batch, voices, frames))
        self.roster = torch.ones(batch, voices)

    def only(self, voices: list[int]) -> "Heard":
        """The same with these voices, in this order."""
        chosen = Heard(len(voices))
        chosen.estimates = self.estimates[0][:, voices], self.estimates[1][:, voices]
        chosen.masks, chosen.f0_hz = self.masks[:, voices], self.f0_hz[:, voices]
        chosen.voicing, chosen.roster = self.voicing[:, voices], self.roster[:, voices]
        return chosen

    @torch.no_grad()
    def refined_by(self, network: ChoirRefiner) -> Tensor:
        """Shape: (2, B, V, REFINED_BINS, N)."""
        mixture = self.estimates[0].sum(1), self.estimates[1].sum(1)
        return torch.stack(network(mixture, self.estimates, self.masks, self.f0_hz, self.voicing, self.roster))


def test_it_changes_nothing_before_it_has_learned() -> None:
    assert not Heard(4).refined_by(refiner(has_learned=False)).any()


@pytest.mark.parametrize("voices", [1, 2, 3, 4, 8])
def test_any_number_of_voices_keeps_its_sum(voices: int) -> None:
    changes = Heard(voices).refined_by(refiner())
    assert changes.shape == (2, 1, voices, REFINED_BINS, FRAMES)
    assert changes.sum(2).abs().max() < ROUNDING
    assert (changes.abs().max() > 0.1) == (voices > 1)


@pytest.mark.parametrize("frames", [1, 2, 7, 8])
def test_every_frame_gets_an_answer_of_its_own(frames: int) -> None:
    changes = Heard(4, frames=frames).refined_by(refiner())
    assert changes.shape == (2, 1, 4, REFINED_BINS, frames)
    assert changes.abs().amax((0, 1, 2, 3)).min() > 0.1


def test_the_order_of_voices_does_not_matter() -> None:
    heard, order = Heard(4), [2, 0, 3, 1]
    shuffled = heard.only(order).refined_by(refiner())
    assert (heard.refined_by(refiner())[:, :, order] - shuffled).abs().max() < ROUNDING


def test_an_absent_voice_stays_silent_and_is_not_heard_by_others() -> None:
    heard = Heard(4)
    for values in (*heard.estimates, heard.masks, heard.voicing, heard.roster):
        values[:, 1] = 0
    changes = heard.refined_by(refiner())
    assert not changes[:, :, 1].any()
    alone = heard.only([0, 2, 3]).refined_by(refiner())
    assert (changes[:, :, [0, 2, 3]] - alone).abs().max() < ROUNDING


def test_a_soloist_is_left_alone() -> None:
    heard = Heard(4)
    heard.roster[:, 1:] = 0
    assert heard.refined_by(refiner()).abs().max() < ROUNDING


def test_recordings_of_a_batch_do_not_hear_each_other() -> None:
    pair, first = Heard(4, batch=2), Heard(4, batch=2)
    first.estimates = first.estimates[0][:1], first.estimates[1][:1]
    first.masks, first.f0_hz = first.masks[:1], first.f0_hz[:1]
    first.voicing, first.roster = first.voicing[:1], first.roster[:1]
    assert (pair.refined_by(refiner())[:, :1] - first.refined_by(refiner())).abs().max() < ROUNDING


def test_silence_is_no_reason_to_fail() -> None:
    heard = Heard(4)
    heard.estimates = torch.zeros_like(heard.estimates[0]), torch.zeros_like(heard.estimates[1])
    assert not heard.refined_by(refiner()).any()
