"""How each source sounds in each channel of the recording: the mathematics of `full_band`, for chunks of spectra.

A network that takes one channel takes the downmix M = w'X of the channels X = (X_1 … X_C), and estimates sources E_s in
it. How source s sounds in the channels, its image Y_s, is unknown. But how it spreads over them is measured where it
dominates: at each frequency, over some seconds, its covariance R_s between channels, and its gains H_s = R_s w into the
channels (both for a source of power one in the downmix). Then

    Y_s = H_s E_s + v_s R_s (sum_i v_i R_i)^-1 rest,      rest = (X - sum_i H_i E_i) - H (M - sum_i E_i)

The first term is the estimate, as loud and as late as the source is in each channel. The second shares out what these
cannot explain, reverberation and the network's errors alike, as a multichannel Wiener filter does, with v_s =
|E_s|^exponent. H are the gains of the whole downmix: what the network left out of its estimates stays out of the stems.

A recording of one channel, or a network that takes them all, needs none of this: there the images are the estimates,
where a second set of masks would cost 0.7 dB (choirs, exponent 1) and hold any network below an ideal mask. In stereo
this gave 0.3 to 7 dB more than masks of exponent 2 on the channels (four real voices in simulated rooms, panned, or by
two microphones without a room), the most where voices stand apart.

Above the network's band only its masks are known: those of its top band, frame by frame, go for all that is there.

Covariances are Hermitian matrices, one for each bin, kept as their upper triangle. Its elements are whole arrays over
frames and bins, so that a matrix of a few channels costs a few array operations however many bins there are. Of very
many channels the pairs would cost too much; then only the diagonal is kept, and each channel stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Spectra = NDArray[np.complex64]
Reals = NDArray[np.float32]
Pairs = Sequence[tuple[int, int]]
"""(row, column) of the elements that are kept, row <= column, row by row."""

# Share of a source's power that reaches the channels without any relation between them.
_DIFFUSE_SHARE = 0.05
# Of the channels' power: a downmix weaker than this has lost a source by cancellation and does not show its gains.
_LEAST_DOWNMIX_POWER = np.float32(0.01)
_MAX_RELATED_CHANNELS = 8
# Below any recording's noise; keeps silence from being divided by zero.
_TINY = np.float32(1e-20)


def own_images(
    mixture: Spectra, estimates: Spectra, num_low_bins: int, exponent: float, selected: list[int]
) -> Iterator[Spectra]:
    """Images where the network took every channel: its own estimates, extended above its band.

    Args:
        mixture: complex64 (C, N, F), the recording.
        estimates: complex64 (S, C, N, F), at the recording's rate.
        num_low_bins: bins of the network's band.
        exponent: of the masks above it.
        selected: places of the wanted stems on axis S.

    Returns:
        of each wanted stem complex64 (C, N, F).
    """
    top_masks = _top_band_masks(np.sqrt(_power(estimates[..., :num_low_bins]).sum(axis=1)), exponent)
    for place in selected:
        yield _extended(estimates[place, ..., :num_low_bins], top_masks[place], mixture)


class DownmixImages:
    """Images where the network took the downmix; follows covariances and gains from chunk to chunk.

    Args:
        downmix_weights: float32 (C,), the w of the downmix.
        num_stems: S.
        num_low_bins: bins of the network's band.
        exponent: of the masks, and of the power given to sources in the rest.
        memory_frames: frames after which what was measured counts for 1/e.
    """

    def __init__(
        self, downmix_weights: Reals, num_stems: int, num_low_bins: int, exponent: float, memory_frames: float
    ) -> None:
        self._weights = downmix_weights
        self._num_low_bins = num_low_bins
        self._exponent = exponent
        self._memory_frames = memory_frames
        self._pairs = related_pairs(len(downmix_weights))
        num_moments = len(self._pairs) + len(downmix_weights) + 1
        # Of each stem and, at the end, of the whole.
        self._moments = np.zeros((num_stems + 1, num_moments, num_low_bins), np.complex64)

    def split(self, mixture: Spectra, estimates: Spectra, selected: list[int]) -> Iterator[Spectra]:
        """The images of the wanted stems, in order.

        Args:
            mixture: complex64 (C, N, F), the recording.
            estimates: complex64 (S, N, F), of the sources in the downmix, at the recording's rate.
            selected: places of the wanted stems on axis S.

        Returns:
            of each wanted stem complex64 (C, N, F).
        """
        num_low_bins = self._num_low_bins
        channels, sources = mixture[..., :num_low_bins], estimates[..., :num_low_bins]
        downmix = (self._weights[:, None, None] * channels).sum(axis=0)
        magnitudes = np.abs(sources)
        covariances, gains = self._follow(channels, downmix, _ratio_masks(magnitudes, 1))
        powers = magnitudes**self._exponent
        rest = channels - gains[-1] * (downmix - sources.sum(axis=0))
        for gain, source in zip(gains, sources, strict=False):
            rest -= gain * source
        totals = [(powers * element[:, None]).sum(axis=0) for element in covariances.swapaxes(0, 1)]
        filtered = solve(totals, self._pairs, rest)
        top_masks = _top_band_masks(magnitudes, self._exponent)
        for place in selected:
            share_of_rest = multiply(covariances[place], self._pairs, powers[place] * filtered)
            yield _extended(gains[place] * sources[place] + share_of_rest, top_masks[place], mixture)

    def _follow(self, channels: Spectra, downmix: Spectra, shares: Reals) -> tuple[Spectra, Spectra]:
        """Covariances complex64 (S, pairs, F) and gains (S + 1, C, 1, F), this chunk included."""
        downmix_power = np.maximum(_power(downmix), _LEAST_DOWNMIX_POWER * _power(channels).mean(axis=0))
        own_products = [channels[row] * channels[column].conj() for row, column in self._pairs]
        products = np.stack([*own_products, *(channels * downmix.conj()), downmix_power])
        self._moments *= np.float32(np.exp(-downmix.shape[0] / self._memory_frames))
        for moments, share in zip(self._moments, shares, strict=False):
            # Fourth powers: bins where sources meet say little about any of them.
            moments += (share**4 * products).sum(axis=1)
        self._moments[-1] += products.sum(axis=1)
        unit = self._moments / (self._moments[:, -1:].real + _TINY)
        covariances, gains = unit[:-1, : len(self._pairs)], unit[:, len(self._pairs) : -1, None]
        return add_to_diagonal(covariances, self._pairs, _DIFFUSE_SHARE), gains


def related_pairs(num_channels: int) -> Pairs:
    """Of covariances of so many channels."""
    return [
        (row, column)
        for row in range(num_channels)
        for column in range(row, num_channels)
        if row == column or num_channels <= _MAX_RELATED_CHANNELS
    ]


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
        element[pivot, pivot] = element[pivot, pivot] + _TINY
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


def _ratio_masks(magnitudes: Reals, exponent: float) -> Reals:
    """Each estimate's share, by magnitude to the power of `exponent`; zero where all estimates are silent.

    Args:
        magnitudes: float32 (S, ...).
    """
    powers = magnitudes**exponent
    return powers / (powers.sum(axis=0) + _TINY)


def _top_band_masks(magnitudes: Reals, exponent: float) -> Reals:
    """Masks for what lies above the network's band, from the estimates in the band's upper third.

    Args:
        magnitudes: float32 (S, N, F) of the estimates in the network's band.

    Returns:
        float32 (S, 1, N, 1), axes of stems, channels, frames, bins.
    """
    top = magnitudes[..., -(magnitudes.shape[-1] // 3) :]
    levels = np.sqrt((top * top).sum(axis=-1, keepdims=True))
    return _ratio_masks(levels, exponent)[:, None]


def _extended(image: Spectra, top_mask: Reals, mixture: Spectra) -> Spectra:
    """An image in the network's band, and above it the mask's share of the mixture: complex64 (C, N, F)."""
    return np.concatenate([image, top_mask * mixture[..., image.shape[-1] :]], axis=-1)


def _power(spectra: Spectra) -> Reals:
    return spectra.real**2 + spectra.imag**2
