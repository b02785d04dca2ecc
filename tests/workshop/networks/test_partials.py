import math

import pytest
import torch
from torch import Tensor

from divisi_workshop.networks.partials import SPLITTING_BAND, LowBand, PartialSplit, conjugate_gradients

RATE = 16_000
HOP = 512
SECONDS = 2.048
BIN_WIDTH_HZ = RATE / 2048
FRAMES = round(SECONDS * RATE) // HOP + 1
TRUST = torch.ones(1, 4, 32, FRAMES)
RIPPLE_DB = -70
"""What a Kaiser window of beta 7 leaves of ripple in the pass band."""


def tone(f0_hz: float, partials: int, phase: float = 0.0) -> Tensor:
    time = torch.arange(round(SECONDS * RATE), dtype=torch.float64) / RATE
    waves = [torch.cos(2 * math.pi * f0_hz * k * time + phase * k) / k for k in range(1, partials + 1)]
    return torch.stack(waves).sum(0).float()


def tracks(soprano_hz: float, alto_hz: float) -> tuple[Tensor, Tensor]:
    f0_hz = torch.tensor([soprano_hz, alto_hz, 200.0, 100.0])[None, :, None].expand(1, 4, FRAMES)
    voicing = torch.tensor([1.0, 1.0, 0.0, 0.0])[None, :, None].expand(1, 4, FRAMES)
    return f0_hz.contiguous(), voicing.contiguous()


def equal_spectra() -> Tensor:
    """What masks say that cannot tell two voices apart."""
    return torch.tensor([0.5, 0.5, 0.0, 0.0])[None, :, None, None].expand(1, 4, 1025, FRAMES).contiguous()


def error_db(estimate: Tensor, truth: Tensor) -> float:
    middle = slice(len(truth) // 8, -len(truth) // 8)
    wrong = (estimate - truth)[middle].square().sum() / truth[middle].square().sum()
    return float(10 * torch.log10(wrong))


def test_two_tones_in_one_bin_are_told_apart_by_their_phases() -> None:
    soprano, alto = tone(440.0, 2), tone(433.0, 2, phase=1.0)
    f0_hz, voicing = tracks(440.0, 433.0)
    split = PartialSplit(RATE, HOP, BIN_WIDTH_HZ, mending_steps=0)
    _, voices = split((soprano + alto)[None], equal_spectra(), TRUST, f0_hz, voicing)
    assert error_db(voices[0, 0], soprano[:: SPLITTING_BAND.decimation]) < -20
    assert error_db(voices[0, 1], alto[:: SPLITTING_BAND.decimation]) < -20


def test_a_pitch_a_little_off_is_mended() -> None:
    mixture = tone(300.0, 3) + tone(196.0, 4, phase=0.5)
    f0_hz, voicing = tracks(300.0 * 2 ** (12 / 1200), 196.0 * 2 ** (-10 / 1200))
    mended, _ = PartialSplit(RATE, HOP, BIN_WIDTH_HZ, mending_steps=3)(
        mixture[None], equal_spectra(), TRUST, f0_hz, voicing
    )
    cents = 1200 * torch.log2(mended[0, :2, 8:-8] / torch.tensor([[300.0], [196.0]]))
    assert cents.abs().max() < 2


def test_an_unvoiced_voice_gets_no_partials() -> None:
    f0_hz, voicing = tracks(440.0, 300.0)
    _, voices = PartialSplit(RATE, HOP, BIN_WIDTH_HZ)(tone(440.0, 3)[None], equal_spectra(), TRUST, f0_hz, voicing)
    assert voices[0, 2:].abs().max() < 1e-6


@pytest.mark.parametrize("hops", [11, 12])
def test_voices_are_as_long_as_the_mixture(hops: int) -> None:
    f0_hz, voicing = (track[:, :, : hops + 1] for track in tracks(440.0, 300.0))
    spectra = equal_spectra()[..., : hops + 1]
    _, voices = PartialSplit(RATE, HOP, BIN_WIDTH_HZ)(
        torch.randn(1, hops * HOP), spectra, TRUST[..., : hops + 1], f0_hz, voicing
    )
    assert voices.shape == (1, 4, hops * HOP // SPLITTING_BAND.decimation)


@pytest.mark.parametrize("decimation", [4, 8])
def test_a_low_tone_survives_the_way_down_and_a_high_one_does_not(decimation: int) -> None:
    low, high = tone(300.0, 1), tone(7000.0, 1)
    down = LowBand(decimation)((low + high)[None])[0]
    assert error_db(down, low[::decimation]) < RIPPLE_DB


def test_conjugate_gradients_solve_what_a_direct_solver_solves() -> None:
    torch.manual_seed(0)
    factor = torch.randn(3, 12, 12)
    matrix = factor @ factor.transpose(1, 2) + torch.eye(12)
    right = torch.randn(3, 12, 2)
    torch.testing.assert_close(
        conjugate_gradients(matrix, right, 24), torch.linalg.solve(matrix, right), rtol=1e-3, atol=1e-4
    )
