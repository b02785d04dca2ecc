"""The U-Net baselines in both conditions: published sizes, the fault that makes them linear, and export."""

import io
import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from divisi_workshop.config import parse, plain
from divisi_workshop.published import unet

HOP = 512
PARITY = 1e-4
BODY_PARAMETERS = 9_823_313


def small(condition: unet.Condition) -> unet.UnetSeparator:
    torch.manual_seed(0)
    config = replace(unet.served(condition), first_channels=2, depth=4, condition_channels=(4, 8))
    return unet.UnetSeparator(config).eval()


def noise(batch: int, blocks: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 1, HOP * blocks, generator=torch.Generator().manual_seed(seed))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("condition", "parameters"), [(unet.Condition.ORIGINAL, 10_319_171), (unet.Condition.EFFICIENT, 10_878_041)]
)
def test_the_published_sizes_have_the_published_parameters(condition: unet.Condition, parameters: int) -> None:
    network = unet.UnetSeparator(unet.published(condition)).unet
    assert count(network) == parameters
    assert count(network.down) + count(network.up) + count(network.after) == BODY_PARAMETERS


@torch.no_grad()
def test_the_published_encoder_is_linear_and_ours_is_not() -> None:
    for slope, is_linear in ((1.0, True), (0.01, False)):
        config = replace(unet.served(), first_channels=2, depth=2, slope=slope)
        encoder = torch.nn.Sequential(*unet.UnetSeparator(config).eval().unet.down)
        one, other = torch.randn(2, 1, 1, 17, 9)
        origin = encoder(torch.zeros_like(one))
        difference = encoder(one + other) - encoder(one) - encoder(other) + origin
        assert (difference.abs().max() < 1e-5) == is_linear


@torch.no_grad()
@pytest.mark.parametrize("condition", list(unet.Condition))
def test_a_mixture_becomes_estimates_that_sum_to_it_and_tracks(condition: unet.Condition) -> None:
    mixture = noise(2, 11)
    estimates, f0_hz = small(condition)(mixture)
    assert estimates.shape == (2, 4, 1, HOP * 11)
    assert f0_hz.shape == (2, 4, 22)
    assert (estimates.sum(1) - mixture).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("condition", list(unet.Condition))
def test_another_pitch_is_another_condition(condition: unet.Condition) -> None:
    network = small(condition)
    spectrum = torch.rand(2, 513, 24)
    f0_hz = torch.stack([torch.full((20,), 220.0), torch.full((20,), 330.0)])
    estimated = network.unet(spectrum, f0_hz)
    assert estimated.shape == spectrum.shape
    assert ((estimated >= 0) & (estimated <= spectrum)).all()
    swapped = network.unet(spectrum, f0_hz.flip(0))
    assert (estimated - swapped).abs().max() > 1e-6


@pytest.mark.parametrize("condition", list(unet.Condition))
def test_a_configuration_survives_being_written_down(condition: unet.Condition) -> None:
    for config in (unet.published(condition), unet.served(condition, 2)):
        assert parse(unet.UnetConfig, plain(config)) == config


@torch.no_grad()
@pytest.mark.parametrize("condition", list(unet.Condition))
def test_both_exported_graphs_agree_with_the_network_at_any_batch_and_length(condition: unet.Condition) -> None:
    network, example = small(condition), noise(2, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters announce their own retirement
        scripted = torch.jit.trace(network, example, check_trace=False)
        graph = io.BytesIO()
        torch.onnx.export(
            network,
            (example,),
            graph,
            dynamo=False,
            opset_version=17,
            input_names=["mixture"],
            output_names=["estimates", "f0"],
            dynamic_axes={"mixture": {0: "B", 2: "T"}, "estimates": {0: "B", 3: "T"}, "f0": {0: "B", 2: "N"}},
        )
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    for batch, blocks in ((1, 9), (3, 23)):
        mixture = noise(batch, blocks, seed=batch)
        found = session.run(["estimates", "f0"], {"mixture": mixture.numpy()})
        for expected, by_onnx, by_script in zip(network(mixture), found, scripted(mixture), strict=True):
            assert np.abs(by_onnx - expected.numpy()).max() < PARITY
            assert (by_script - expected).abs().max() < PARITY
