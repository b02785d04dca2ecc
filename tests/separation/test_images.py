from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.images import add_to_diagonal, multiply, related_pairs, solve


def random_covariances(num_channels: int, num_bins: int) -> np.ndarray:
    """Positive definite, complex (bins, C, C)."""
    generator = np.random.default_rng(num_channels)
    shape = (num_bins, num_channels, num_channels)
    factors = generator.standard_normal(shape) + 1j * generator.standard_normal(shape)
    return factors @ factors.conj().swapaxes(1, 2) + np.eye(num_channels)


def random_vectors(num_channels: int, num_bins: int) -> np.ndarray:
    """complex64 (C, 1, bins)."""
    generator = np.random.default_rng(7)
    shape = (num_channels, 1, num_bins)
    return (generator.standard_normal(shape) + 1j * generator.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 6])
def test_solving_and_multiplying_agree_with_dense_matrices(num_channels) -> None:
    dense = random_covariances(num_channels, num_bins=50)
    pairs = related_pairs(num_channels)
    upper = np.stack([dense[:, row, column] for row, column in pairs]).astype(np.complex64)
    vectors = random_vectors(num_channels, num_bins=50)
    columns = vectors[:, 0].T[..., None]
    expected = np.linalg.solve(dense, columns)[..., 0].T[:, None]
    np.testing.assert_allclose(solve(upper[:, None], pairs, vectors), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(multiply(upper, pairs, vectors)[:, 0], (dense @ columns)[..., 0].T, rtol=1e-4, atol=1e-4)


def test_of_many_channels_only_the_diagonal_is_kept() -> None:
    pairs = related_pairs(9)
    assert pairs == [(channel, channel) for channel in range(9)]
    vectors = random_vectors(9, num_bins=4)
    diagonal = np.full((9, 4), 2, np.complex64)
    np.testing.assert_allclose(solve(diagonal[:, None], pairs, vectors), vectors / 2)
    np.testing.assert_allclose(multiply(diagonal, pairs, vectors), vectors * 2)


def test_zero_matrices_give_finite_vectors() -> None:
    pairs = related_pairs(2)
    assert np.isfinite(solve(np.zeros((3, 1, 4), np.complex64), pairs, random_vectors(2, num_bins=4))).all()


def test_a_share_of_the_mean_power_is_added_to_each_channel() -> None:
    pairs = related_pairs(2)
    covariances = np.array([[[4], [1j], [2]]], np.complex64)
    np.testing.assert_allclose(add_to_diagonal(covariances, pairs, 0.1), [[[4.3], [1j], [2.3]]])
