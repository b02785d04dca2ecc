"""Which channels of a recording are made of others: copies, safety tracks, upmixes, mid and side beside left and right.

They say nothing that the others do not, so a fit leaves them out, and what it finds is spread to them afterwards. Only
what holds for the whole recording and all frequencies counts here; copies that are delayed, or alike in some bands, are
the business of the fit (`noise_for_rank` of the networks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples

# -50 dB: what a channel may hold beside what others make of it. A safety track's rounding is far less, another
# microphone's sound far more.
_LEAST_OWN = 1e-5
# Of the largest such share: as good as it, so that the order may decide.
_PLAIN_OWN = 0.1
# -40 dB of a channel: less than its parts.
_LEAST_PART = 0.01


@dataclass(frozen=True)
class IndependentChannels:
    """Some channels, and how all others are made of them.

    Attributes:
        channels: their numbers, counted from 0.
        weights: float64 (C, channels), all channels from these.
    """

    channels: tuple[int, ...]
    weights: NDArray[np.float64]

    def parts_of(self, channel: int, covariance: NDArray[np.float64]) -> list[int]:
        """The channels that one channel is mostly made of; none for a silent one."""
        levels = np.sqrt(covariance.diagonal())
        parts = np.abs(self.weights[channel]) * levels[list(self.channels)]
        return [part for part, level in zip(self.channels, parts, strict=True) if level > _LEAST_PART * levels[channel]]

    @property
    def are_all(self) -> bool:
        """No channel depends on others."""
        return len(self.channels) == len(self.weights)

    def spread(self, image: Samples) -> Samples:
        """All channels, float32 (C, T), of what sounds in the independent ones, (channels, T)."""
        return (self.weights @ image).astype(np.float32)

    def rest(self, mixture: Samples) -> Samples:
        """What the independent channels do not explain of the others: float32 (C, T), rounding and faint hiss."""
        return mixture - self.spread(mixture[list(self.channels)])


def covariance_of(blocks: Iterable[Samples], num_channels: int) -> NDArray[np.float64]:
    """Sums of products of the channels, float64 (C, C), of blocks float32 (C, n)."""
    covariance = np.zeros((num_channels, num_channels))
    for block in blocks:
        samples = block.astype(np.float64)
        covariance += samples @ samples.T
    return covariance


def independent_channels(covariance: NDArray[np.float64], preferred: Sequence[int] = ()) -> IndependentChannels:
    """Channels none of which is made of others; silent ones are made of nothing. Where all are silent, all channels.

    Args:
        covariance: float64 (C, C), of the whole recording.
        preferred: taken where there is a choice, in this order; then the lowest numbers.
    """
    num_channels = len(covariance)
    chosen: list[int] = []
    while True:
        shares = _own_shares(covariance, chosen)
        if shares.max() <= _LEAST_OWN:
            break
        # By nearly equal channels others would be made with weights that know no bound.
        is_plain = shares > _PLAIN_OWN * shares.max()
        chosen.append(next(channel for channel in (*preferred, *range(num_channels)) if is_plain[channel]))
    if not chosen:
        return IndependentChannels(tuple(range(num_channels)), np.eye(num_channels))
    chosen.sort()
    weights = np.eye(num_channels)[:, chosen]
    others = [channel for channel in range(num_channels) if channel not in chosen]
    weights[others] = _weights(covariance, chosen, others).T
    return IndependentChannels(tuple(chosen), weights)


def _own_shares(covariance: NDArray[np.float64], chosen: list[int]) -> NDArray[np.float64]:
    """What each channel holds beside what the chosen ones make of it, of its power: (C,), 0 for silent ones."""
    powers = covariance.diagonal()
    made = (covariance[chosen] * _weights(covariance, chosen, range(len(powers)))).sum(axis=0)
    shares = np.where(powers > 0, 1 - made / np.where(powers > 0, powers, 1), 0)
    shares[chosen] = 0
    return shares


def _weights(covariance: NDArray[np.float64], chosen: Sequence[int], channels: Sequence[int]) -> NDArray[np.float64]:
    """What makes `channels` of the chosen ones, by least squares: (chosen, channels)."""
    levels = np.sqrt(covariance.diagonal()[list(chosen)])[:, None]
    own = covariance[np.ix_(chosen, chosen)] / (levels * levels.T)
    weights: NDArray[np.float64] = np.linalg.solve(own, covariance[np.ix_(chosen, channels)] / levels) / levels
    return weights
