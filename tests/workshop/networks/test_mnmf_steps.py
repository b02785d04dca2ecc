"""The updates of the demixing matrices do what their papers say, and bear recordings that are no recordings."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from divisi_workshop.networks.mnmf_steps import powers_behind, project, steer, weighted_covariances

F, C, N = 3, 4, 50
# Double precision over sums of some hundred terms.
EXACT = 1e-10


def spectra(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    real, imag = torch.randn(2, F, C, N, dtype=torch.float64, generator=generator)
    return real, imag


def weights(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + torch.rand(C, F, N, dtype=torch.float64, generator=generator)


def identity() -> Tensor:
    return torch.eye(C, dtype=torch.complex128).repeat(F, 1, 1)


def auxiliary(rows: Tensor, covariances: Tensor) -> float:
    """What both updates lower: sum of q^H V q, minus the log-determinant of Q Q^H."""
    forms = torch.einsum("fmi,fmij,fmj->", rows, covariances, rows.conj()).real
    return float(forms - 2 * torch.linalg.slogdet(rows)[1].sum())


def test_covariances_are_weighted_means_of_outer_products_and_dither() -> None:
    real, imag = spectra()
    dither = torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)
    frames = torch.complex(real, imag)
    products = torch.einsum("fin,fjn->fijn", frames, frames.conj()) + 0j
    products += dither[:, None, None, None] * torch.eye(C, dtype=torch.float64)[None, :, :, None]
    expected = torch.einsum("fijn,mfn->fmij", products, weights() + 0j) / N
    torch.testing.assert_close(weighted_covariances(real, imag, weights(), dither), expected, atol=EXACT, rtol=0)


def test_powers_are_those_behind_the_matrix() -> None:
    real, imag = spectra()
    rows = identity() + 0.3 * torch.randn(F, C, C, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    expected = (rows @ torch.complex(real, imag)).abs().square().transpose(0, 1)
    powers = powers_behind(rows, real, imag, torch.zeros(F, dtype=torch.float64))
    torch.testing.assert_close(powers, expected, atol=EXACT, rtol=0)


@pytest.mark.parametrize("update", [steer, project])
def test_every_sweep_lowers_the_auxiliary_function(update) -> None:  # type: ignore[no-untyped-def]
    covariances = weighted_covariances(*spectra(), weights(), torch.zeros(F, dtype=torch.float64))
    rows = identity()
    course = [auxiliary(rows, covariances)]
    for _ in range(6):
        rows = update(rows, covariances)
        course.append(auxiliary(rows, covariances))
    assert all(after <= before + EXACT for before, after in pairwise(course))
    assert course[-1] < course[0] - 0.1


@pytest.mark.parametrize("update", [steer, project])
def test_a_sweep_leaves_the_last_row_at_power_one(update) -> None:  # type: ignore[no-untyped-def]
    covariances = weighted_covariances(*spectra(), weights(), torch.zeros(F, dtype=torch.float64))
    row = update(identity(), covariances)[:, -1]
    powers = torch.einsum("fi,fij,fj->f", row, covariances[:, -1], row.conj()).real
    torch.testing.assert_close(powers, torch.ones(F, dtype=torch.float64), atol=EXACT, rtol=0)


@pytest.mark.parametrize("update", [steer, project])
@pytest.mark.parametrize("fault", ["a silent microphone", "two equal microphones"])
def test_single_precision_bears(update, fault: str) -> None:  # type: ignore[no-untyped-def]
    real, imag = (part.float() for part in spectra())
    for part in (real, imag):
        part[:, 1] = 0 if fault == "a silent microphone" else part[:, 0]
    rows = identity().to(torch.complex64)
    dither = torch.full((F,), 1e-10)
    for _ in range(5):
        model = powers_behind(rows, real, imag, dither) + 1e-10
        rows = update(rows, weighted_covariances(real, imag, 1 / model, dither))
    assert torch.isfinite(torch.view_as_real(rows)).all()
