"""The source-filter systems whole: published sizes, mended faults, and both exported graphs."""

import io
import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from divisi.contract.errors import InputError
from divisi_workshop.config import parse, plain
from divisi_workshop.networks.spectral import RatioMaskSeparation, ratio_masks
from divisi_workshop.published import umss
from divisi_workshop.published.source_filter import SeparatorConfig

HOP = 512
PARITY = 1e-4  # what the bundle contract asks of every artifact


def small(assignment: umss.Assignment, **changes: object) -> umss.Umss:
    """The served configuration with a small separator, and F0 networks that hear pitches in noise."""
    torch.manual_seed(0)
    separator = SeparatorConfig(encoder_hidden=16, embedding=8, decoder_hidden=16)
    config = replace(umss.served(assignment), separator=separator, **changes)  # type: ignore[arg-type]
    network = umss.Umss(config).eval()
    with torch.no_grad():
        late = network.pitch.multi_f0.late[-2]
        late.bias.zero_()
        late.weight.mul_(30)
        for branch in network.pitch.assigner.branches if network.pitch.assigner is not None else ():
            branch[-2].bias.zero_()
            branch[-2].weight.mul_(5)
    return network


def noise(batch: int, blocks: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 1, HOP * blocks, generator=torch.Generator().manual_seed(seed))


def test_the_published_joint_model_has_the_published_parameters() -> None:
    network = umss.Umss(umss.published_joint())
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_015_492


def test_the_published_umss_has_them_without_an_assigner() -> None:
    network = umss.Umss(umss.published_umss())
    assert sum(parameter.numel() for parameter in network.separator.parameters()) == 5_573_961
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_015_492 - 189_830


@pytest.mark.parametrize("preset", [umss.published_joint(), umss.published_umss(2), umss.served()])
def test_a_configuration_survives_being_written_down(preset: umss.UmssConfig) -> None:
    assert parse(umss.UmssConfig, plain(preset)) == preset


def test_unknown_sizes_in_a_configuration_are_refused() -> None:
    with pytest.raises(InputError, match="no_such_size"):
        umss.build({"no_such_size": 1})


@torch.no_grad()
@pytest.mark.parametrize("assignment", list(umss.Assignment))
def test_a_mixture_becomes_estimates_tracks_and_a_resynthesis(assignment: umss.Assignment) -> None:
    mixture = noise(2, 12)
    estimates, f0_hz, resynthesis = small(assignment)(mixture)
    assert estimates.shape == (2, 4, 1, HOP * 12)
    assert f0_hz.shape == (2, 4, 24)
    assert (f0_hz > 0).any()
    assert resynthesis.shape == mixture.shape
    assert (estimates.sum(1) - mixture).abs().max() < 1e-5


@torch.no_grad()
def test_louder_in_is_louder_out_and_nothing_else() -> None:
    network, mixture = small(umss.Assignment.HEURISTIC), noise(1, 12)
    quiet, loud = network(mixture), network(20 * mixture)
    assert torch.equal(loud[1], quiet[1])
    assert (loud[0] / 20 - quiet[0]).abs().max() < 1e-5
    assert (loud[2] / 20 - quiet[2]).abs().max() < PARITY


@torch.no_grad()
def test_recordings_of_a_batch_do_not_hear_each_other_once_mended() -> None:
    network = small(umss.Assignment.NETWORK)
    pair = torch.cat([noise(1, 12, seed=1), 5 * noise(1, 12, seed=2)])
    assert (network(pair)[0][:1] - network(pair[:1])[0]).abs().max() < PARITY


@torch.no_grad()
def test_silence_stays_silence() -> None:
    for values in small(umss.Assignment.NETWORK)(torch.zeros(1, 1, HOP * 8)):
        assert torch.isfinite(values).all()
        assert values.shape[1] == 4 or values.abs().max() < 1e-5


def test_steeper_masks_share_out_more_sharply_and_still_sum_to_one() -> None:
    magnitudes = torch.tensor([3.0, 1.0]).reshape(1, 2, 1, 1)
    assert ratio_masks(magnitudes)[0, 0, 0, 0] == pytest.approx(0.75)
    assert ratio_masks(magnitudes, 2.0)[0, 0, 0, 0] == pytest.approx(0.9)
    assert ratio_masks(magnitudes, 2.0).sum() == pytest.approx(1.0)


@torch.no_grad()
def test_masks_made_of_the_true_voices_separate_tones() -> None:
    time = torch.arange(16_384) / 16_000
    voices = torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.sin(2 * torch.pi * 1500 * time)])[None]
    separated = RatioMaskSeparation()(voices.sum(1), voices)
    assert (separated - voices)[..., 2048:-2048].abs().max() < 0.01


@torch.no_grad()
def test_both_exported_graphs_agree_with_the_network_at_any_batch_and_length() -> None:
    network, example = small(umss.Assignment.NETWORK), noise(2, 10)
    names = ["estimates", "f0", "resynthesis"]
    axes = {"mixture": {0: "B", 2: "T"}, "estimates": {0: "B", 3: "T"}, "f0": {0: "B", 2: "N"}}
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
            output_names=names,
            dynamic_axes={**axes, "resynthesis": {0: "B", 2: "T"}},
        )
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    for batch, blocks in ((1, 9), (3, 23)):
        mixture = noise(batch, blocks, seed=batch)
        found = session.run(names, {"mixture": mixture.numpy()})
        for expected, by_onnx, by_script in zip(network(mixture), found, scripted(mixture), strict=True):
            assert np.abs(by_onnx - expected.numpy()).max() < PARITY
            assert (by_script - expected).abs().max() < PARITY
