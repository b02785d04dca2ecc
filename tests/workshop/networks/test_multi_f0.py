"""The multi-F0 estimator and the voice assigner have the published shapes; what is learned is tested elsewhere."""

import torch
from torch.nn import functional

from divisi_workshop.published.hcqt import HcqtConfig
from divisi_workshop.published.multi_f0 import AssignerConfig, MultiF0, MultiF0Config, SameConv2d, VoiceAssigner

SMALL = MultiF0Config(
    HcqtConfig(sample_rate=16_000, hop_length=512, lowest_hz=110.0, bins_per_octave=12, bin_count=30),
    first_channels=4,
    channels=4,
    square_count=1,
    tall_height=12,
    tall_count=1,
    late_channels=4,
    full_channels=2,
)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_multi_f0_estimator_has_the_published_parameters() -> None:
    network = MultiF0()
    assert count(network) == 1_251_701
    assert network.branch_phase is not None
    assert (count(network.branch_magnitude), count(network.branch_phase), count(network.late)) == (
        496_618,
        496_618,
        258_465,
    )


def test_the_voice_assigner_has_the_published_parameters() -> None:
    assigner = VoiceAssigner()
    assert count(assigner) == 189_830
    assert count(assigner.trunk) == 171_074
    assert [count(branch) for branch in assigner.branches] == [4_672 + 17] * 4


@torch.no_grad()
def test_a_signal_becomes_one_salience_for_all_and_one_for_each_voice() -> None:
    salience = MultiF0(SMALL).eval()(0.1 * torch.randn(2, 8_192))
    assert salience.shape == (2, 1, 30, 16)
    by_voice = VoiceAssigner(AssignerConfig(2, 4, 4, tall_height=6)).eval()(salience)
    assert by_voice.shape == (2, 2, 30, 16)
    assert ((by_voice > 0) & (by_voice < 1)).all()


def test_an_even_kernel_reaches_one_step_further_behind_than_before() -> None:
    convolution = SameConv2d(1, 1, (4, 3))
    features = torch.randn(1, 1, 9, 7)
    expected = functional.conv2d(functional.pad(features, (1, 1, 1, 2)), convolution.weight, convolution.bias)
    assert torch.equal(convolution(features), expected)
    assert expected.shape == features.shape
