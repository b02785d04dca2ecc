"""The widened U-Net is the narrow one until it learns."""

import itertools
from pathlib import Path

import pytest
import torch
from tests.workshop.learning.test_train_system import tiny

from divisi_workshop.learning import widen_unet
from divisi_workshop.learning.system_config import SystemConfig
from divisi_workshop.learning.train_system import SystemRun
from divisi_workshop.networks import unet


def checkpoint(path: Path, **changes: object) -> SystemConfig:
    """One of a tiny efficient U-Net whose averages and running statistics are not those it began with."""
    config = tiny("unet_satb_efficient", **changes)
    run = SystemRun(config)
    generator = torch.Generator().manual_seed(3)
    for module in (run.network, run.average):
        for value in itertools.chain(module.unet.parameters(), module.unet.buffers()):
            if value.is_floating_point():
                value.data.add_(0.1 * torch.rand(value.shape, generator=generator))
    run.save(path)
    return config


@pytest.fixture
def sound() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    magnitudes = torch.rand(2, 513, 36, generator=generator)
    return magnitudes, torch.tensor([[220.0] * 32, [0.0] * 16 + [440.0] * 16])


@pytest.mark.parametrize("training", [False, True])
def test_the_widened_network_says_what_the_narrow_one_says(
    training: bool, tmp_path: Path, sound: tuple[torch.Tensor, torch.Tensor]
) -> None:
    checkpoint(tmp_path / "narrow.pt")
    run = widen_unet.widened(tmp_path / "narrow.pt")
    narrow = unet.build(torch.load(tmp_path / "narrow.pt", weights_only=True)["config"]["network"])
    narrow.load_state_dict(torch.load(tmp_path / "narrow.pt", weights_only=True)["average"])
    sizes = [sum(value.numel() for value in network.unet.parameters()) for network in (narrow, run.network)]
    assert sizes[1] == 10_878_041  # the published network with this condition
    assert sizes[1] > 20 * sizes[0]
    with torch.no_grad():
        expected = narrow.train(training).unet.shares(*sound)
        found = run.network.train(training).unet.shares(*sound)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


def test_what_is_new_learns(tmp_path: Path, sound: tuple[torch.Tensor, torch.Tensor]) -> None:
    checkpoint(tmp_path / "narrow.pt")
    run = widen_unet.widened(tmp_path / "narrow.pt")
    body = run.network.train().unet
    optimiser = torch.optim.Adam(body.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        body.shares(*sound).square().mean().backward()
        optimiser.step()
    # The lowest level is heard through a chain of weights that were zero.
    assert body.down[-1][0].weight.grad.abs().max() > 0


def test_its_checkpoint_starts_a_run_of_that_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(tmp_path / "narrow.pt")
    monkeypatch.setattr("sys.argv", ["widen_unet", "--narrow", str(tmp_path / "narrow.pt"), "--out", str(tmp_path)])
    widen_unet.main()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 0
    network = state["config"]["network"]
    assert (network["first_channels"], network["depth"], network["perceptron_hidden"]) == (16, 6, 513)
    run = SystemRun(widen_unet.widened(tmp_path / "narrow.pt").config)
    run.start_from(tmp_path / "checkpoint.pt")
    for name, value in run.network.unet.state_dict().items():
        torch.testing.assert_close(value, state["average"][f"unet.{name}"])
