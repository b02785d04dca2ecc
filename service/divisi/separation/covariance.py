"""Covariances between channels, one Hermitian matrix for each bin, kept as its upper triangle: the algebra of `images`.

Elements are whole arrays over frames and bins, so that a matrix of a few channels costs a few array operations however
many bins there are. Of very many channels the pairs would cost too much; then only the diagonal is kept, and
each channel stands for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Spectra = NDArray[np.complex64]
Pairs = Sequence[tuple[int, int]]

_MAX_RELATED_CHANNELS = 8
# Below any recording's noise; keeps silence from being divided by zero.
TINY = np.float32(1e-20)


def related_pairs(num_channels: int) -> Pairs:
    """(row, column) of the elements that are kept, row <= column, row by row."""
    return [
        (row, column)
        for row in range(num_channels)
        for column in range(row, num_channels)
        if row == column or num_channels <= _MAX_RELATED_CHANNELS
    ]


def outer_products(channels: Spectra, pairs: Pairs) -> list[Spectra]:
    """Of each pair X_row conj(X_column), complex64 (N, F). Takes complex64 (C, N, F)."""
    return [channels[row] * channels[column].conj() for row, column in pairs]


def add_to_diagonal(covariances: Spectra, pairs: Pairs, share: float) -> Spectra:
    """Covariances with `share` of their mean power added to each channel. Takes and gives complex64 (S, pairs, F)."""
    diagonal = [place for place, (row, column) in enumerate(pairs) if row == column]
    loaded = covariances.copy()
    loaded[:, diagonal] += np.float32(share) * covariances[:, diagonal].mean(axis=1, keepdims=True)
    return loaded


def multiply(covariance: Spectra, pairs: Pairs, vectors: Spectra) -> Spectra:
    """Matrix times vector. Takes complex64 (pairs, F) and (C, N, F), gives (C, N, F)."""
    products = np.zeros_like(vectors)
    for element, (row, column) in zip(covariance, pairs, strict=True):
        products[row] += element * vectors[column]
        if row != column:
            products[column] += element.conj() * vectors[row]
    return products


def solve(matrices: Sequence[Spectra], pairs: Pairs, vectors: Spectra) -> Spectra:
    """The vectors that the matrices would turn into the given ones; zero matrices give finite ones.

    Gaussian elimination without pivots, which matrices that are positive definite do not need.

    Args:
        matrices: of each pair complex64 (N, F), Hermitian and positive definite.
        vectors: complex64 (C, N, F).
    """
    element = dict(zip(pairs, matrices, strict=True))
    solution = vectors.copy()
    num_channels = len(vectors)
    for pivot in range(num_channels):
        element[pivot, pivot] = element[pivot, pivot] + TINY
        for row in range(pivot + 1, num_channels):
            if (pivot, row) not in element:
                continue
            factor = element[pivot, row].conj() / element[pivot, pivot]
            solution[row] -= factor * solution[pivot]
            for column in range(row, num_channels):
                element[row, column] = element[row, column] - factor * element[pivot, column]
    for row in reversed(range(num_channels)):
        for column in range(row + 1, num_channels):
            if (row, column) in element:
                solution[row] -= element[row, column] * solution[column]
        solution[row] /= element[row, row]
    return solution
