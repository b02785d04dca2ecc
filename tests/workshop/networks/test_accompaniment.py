"""The first stage: tells what stands still from what wavers, and leaves alone what nothing accompanies."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from divisi_workshop.networks.accompaniment import FINE_BINS, HOP_LENGTH, WINDOW_LENGTH, AccompanimentSplit
from divisi_workshop.networks.chorus import Chorus, ChorusConfig

RATE = 16_000
PARITY = 1e-4
# Of single precision, over some thousand bins.
ROUNDING = 1e-4
TINY = {
    "pitch_channels": 8,
    "pitch_hidden": 8,
    "refined_hidden": 8,
    "mask_channels": 8,
    "detail_channels": 4,
    "band_hidden": 8,
    "refiner_channels": 4,
}


def untrained(odds: float) -> AccompanimentSplit:
    """A stage with weights of chance that is always so sure that something accompanies."""
    torch.manual_seed(2)
    stage = AccompanimentSplit().eval()
    for layer in (stage.leave, stage.bands):
        torch.nn.init.normal_(layer.weight, std=0.1)
    torch.nn.init.zeros_(stage.presence[2].weight)
    torch.nn.init.constant_(stage.presence[2].bias, odds)
    return stage


def noise(batch: int, length: int) -> torch.Tensor:
    return torch.randn(batch, length, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_before_it_has_learned_everything_is_sung() -> None:
    stage = AccompanimentSplit().eval()
    real, imag = stage.fourier.analyse(noise(1, 8 * HOP_LENGTH))
    voices_real, voices_imag, _ = stage.voices(real, imag)
    assert torch.allclose(voices_real, real, atol=ROUNDING)
    assert torch.allclose(voices_imag, imag, atol=ROUNDING)


@torch.no_grad()
@pytest.mark.parametrize("blocks", [16, 17, 23])
def test_it_takes_half_frames_and_gives_as_many_samples(blocks: int) -> None:
    signal = noise(2, blocks * HOP_LENGTH // 2)
    rest, odds = untrained(9.0)(signal)
    assert (rest.shape, odds.shape) == (signal.shape, (2,))
    assert rest.any()


@torch.no_grad()
def test_at_even_odds_or_less_nothing_is_taken_away() -> None:
    for odds in (0.0, -3.0):
        rest, _ = untrained(odds)(noise(1, 8 * HOP_LENGTH))
        assert not rest.any()


@torch.no_grad()
def test_a_steady_tone_is_what_the_frames_beside_it_say_and_a_wavering_one_is_not() -> None:
    stage = AccompanimentSplit()
    times = torch.arange(RATE * 2) / RATE
    steady = torch.sin(2 * torch.pi * 443.3 * times)
    wavering = torch.sin(2 * torch.pi * 443.3 * times + 3 * torch.sin(2 * torch.pi * 5.5 * times))
    unexplained = []
    for signal in (steady, wavering):
        real, imag = (part[:, :FINE_BINS] for part in stage.fourier.analyse(signal[None, : 31 * HOP_LENGTH]))
        before, after, _ = stage.features(real, imag)
        inner = slice(6, -6)
        power = (real.square() + imag.square())[..., inner].sum()
        for one in (before, after):
            error = ((real - one[0]).square() + (imag - one[1]).square())[..., inner].sum()
            unexplained.append(float(error / power))
    assert max(unexplained[:2]) < 1e-3
    assert min(unexplained[2:]) > 0.1


@torch.no_grad()
def test_a_recording_does_not_depend_on_others_of_its_batch() -> None:
    stage = untrained(9.0)
    pair = noise(2, 8 * HOP_LENGTH)
    pair[1] *= 3
    assert torch.allclose(stage(pair)[0][:1], stage(pair[:1])[0], atol=ROUNDING)


@pytest.fixture(scope="module")
def chorus() -> Chorus:
    torch.manual_seed(4)
    network = Chorus(ChorusConfig(**TINY, has_accompaniment=True)).eval()
    assert network.accompaniment is not None
    network.accompaniment.load_state_dict(untrained(9.0).state_dict())
    return network


@torch.no_grad()
def test_with_it_there_are_five_estimates_which_sum_to_the_mixture(chorus: Chorus) -> None:
    mixture = 0.1 * noise(1, 2 * WINDOW_LENGTH)[:, None]
    estimates, f0_hz, voicing, presence = chorus(mixture, torch.ones(1, 5))
    assert (estimates.shape, presence.shape) == ((1, 5, 1, mixture.shape[2]), (1, 5))
    assert f0_hz.shape == voicing.shape == (1, 5, mixture.shape[2] // 512 + 1)
    assert estimates[:, 4].any()
    assert not f0_hz[:, 4].any()
    assert (estimates.sum(1) - mixture).abs().max() < ROUNDING


@torch.no_grad()
def test_where_it_is_known_to_be_absent_the_voices_are_those_of_a_network_without_it(chorus: Chorus) -> None:
    mixture = 0.1 * noise(1, 2 * WINDOW_LENGTH)[:, None]
    without = Chorus(ChorusConfig(**TINY)).eval()
    without.load_state_dict(chorus.state_dict(), strict=False)
    estimates, *_ = chorus(mixture, torch.tensor([[1.0, 1, 1, 1, 0]]))
    expected, *_ = without(mixture, torch.ones(1, 4))
    assert torch.equal(estimates[:, :4], expected)
    assert not estimates[:, 4].any()


def test_its_graph_gives_the_same_at_other_lengths() -> None:
    stage = untrained(9.0)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"signal": {0: "B", 1: "T"}}
        torch.onnx.export(
            stage, (noise(2, 8192),), buffer, input_names=["signal"], dynamic_axes=axes, opset_version=17, dynamo=False
        )
    session = onnxruntime.InferenceSession(buffer.getvalue())
    signal = noise(1, 21 * HOP_LENGTH // 2)
    rest, odds = session.run(None, {"signal": signal.numpy()})
    with torch.no_grad():
        expected, expected_odds = stage(signal)
    assert np.abs(rest - expected.numpy()).max() < PARITY
    assert np.abs(odds - expected_odds.numpy()).max() < PARITY
