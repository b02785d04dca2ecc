"""The whole network as a worker meets it: one graph, waveform in, waveforms out."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from divisi_workshop.networks.chorus import build, default_config

HOP = 512
PARITY = 1e-4  # what the bundle contract asks of every artifact


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    network = build(None).eval()
    # Until it has learned, the last stage changes nothing, and nothing about it could fail here.
    torch.nn.init.normal_(network.refine.leave.weight, std=0.1)
    return network


def everyone(batch: int) -> torch.Tensor:
    return torch.ones(batch, 4)


def noise(batch: int, blocks: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 1, HOP * blocks, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_mixture_becomes_four_estimates_and_four_tracks(network: nn.Module) -> None:
    estimates, f0_hz, voicing, presence = network(noise(2, 12), everyone(2))
    assert estimates.shape == (2, 4, 1, HOP * 12)
    assert f0_hz.shape == voicing.shape == (2, 4, 13)
    assert presence.shape == (2, 4)


def test_it_has_at_most_three_million_parameters(network: nn.Module) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) <= 3_000_000


@torch.no_grad()
@pytest.mark.parametrize("gain", [1e-3, 30.0])
def test_louder_in_is_louder_out_and_nothing_else(network: nn.Module, gain: float) -> None:
    mixture = noise(1, 12)
    estimates, *_ = network(mixture, everyone(1))
    scaled, *_ = network(gain * mixture, everyone(1))
    assert (scaled / gain - estimates).abs().max() < PARITY


@torch.no_grad()
def test_silence_stays_silence(network: nn.Module) -> None:
    estimates, f0_hz, *_ = network(torch.zeros(1, 1, HOP * 8), everyone(1))
    assert (estimates == 0).all()
    assert torch.isfinite(f0_hz).all()


@torch.no_grad()
def test_recordings_of_a_batch_do_not_hear_each_other(network: nn.Module) -> None:
    pair = torch.cat([noise(1, 12, seed=1), 20 * noise(1, 12, seed=2)])
    together, *_ = network(pair, everyone(2))
    alone, *_ = network(pair[:1], everyone(1))
    assert (together[:1] - alone).abs().max() < PARITY


@torch.no_grad()
def test_estimates_sum_to_the_mixture(network: nn.Module) -> None:
    mixture = noise(1, 40)
    estimates, *_ = network(mixture, everyone(1))
    assert (estimates.sum(1) - mixture).abs().max() < 1e-5


@torch.no_grad()
def test_voices_known_to_be_absent_are_silent(network: nn.Module) -> None:
    mixture = noise(1, 20)
    estimates, f0_hz, *_ = network(mixture, torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    assert estimates[:, [1, 2]].abs().max() < 1e-6
    assert (f0_hz[:, [1, 2]] == 0).all()
    assert (estimates[:, [0, 3]].sum(1) - mixture).abs().max() < 1e-5


def test_unknown_sizes_in_a_configuration_are_refused() -> None:
    with pytest.raises(TypeError):
        build({"no_such_size": 1})
    assert default_config()["hop_length"] == HOP


@torch.no_grad()
def test_both_exported_graphs_agree_with_the_network_at_any_batch_and_length(network: nn.Module) -> None:
    example = noise(2, 10), everyone(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters announce their own retirement
        scripted = torch.jit.trace(network, example, check_trace=False)
        graph = io.BytesIO()
        torch.onnx.export(
            network,
            example,
            graph,
            dynamo=False,
            opset_version=17,
            input_names=["mixture", "roster"],
            output_names=["estimates", "f0", "voicing", "presence"],
            dynamic_axes={
                "mixture": {0: "B", 2: "T"},
                "roster": {0: "B"},
                "estimates": {0: "B", 3: "T"},
                "f0": {0: "B", 2: "N"},
                "voicing": {0: "B", 2: "N"},
                "presence": {0: "B"},
            },
        )
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    for batch, blocks in ((1, 9), (3, 23)):
        inputs = noise(batch, blocks, seed=batch), everyone(batch)
        expected = network(*inputs)[0].numpy()
        assert np.abs(scripted(*inputs)[0].numpy() - expected).max() < PARITY
        named = {"mixture": inputs[0].numpy(), "roster": inputs[1].numpy()}
        assert np.abs(session.run(["estimates"], named)[0] - expected).max() < PARITY
