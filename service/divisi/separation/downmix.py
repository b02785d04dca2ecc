"""One channel out of many, for networks that hear one: the mean of the channels, unless some channels are upside down.

A plain mean deletes what two channels carry with opposite signs; a pair wired the wrong way round would be silence to
the network. So a channel that runs against the loudest one is turned over first. The recording's first seconds decide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples

# Wide stereo and rooms stay well above; only reversed polarity lies near -1.
_REVERSED_CORRELATION = -0.5
_DECIDING_SECONDS = 10.0


class Downmix:
    """Takes blocks, gives one channel. Holds blocks back until it has heard enough to decide.

    Args:
        num_channels: C of the blocks.
        sample_rate: theirs, Hz.
    """

    def __init__(self, num_channels: int, sample_rate: int) -> None:
        self._weights: NDArray[np.float32] | None = None
        self._num_channels = num_channels
        self._deciding_samples = round(_DECIDING_SECONDS * sample_rate)
        self._held: list[Samples] = []
        self._num_held = 0

    @property
    def weights(self) -> NDArray[np.float32]:
        """float32 (C,), whose product with the channels is the downmix; decided once `push` has given samples."""
        if self._weights is None:
            raise ValueError("the downmix has not heard enough to decide")
        return self._weights

    def push(self, block: Samples, *, is_last: bool = False) -> Samples:
        """Takes float32 (C, n), gives float32 (1, m) in step with the input, though behind it at first."""
        if self._weights is not None:
            return self._mixed(block)
        self._held.append(block)
        self._num_held += block.shape[1]
        if self._num_held < self._deciding_samples and not is_last and self._num_channels > 1:
            return np.zeros((1, 0), np.float32)
        head = np.concatenate(self._held, axis=1)
        self._held = []
        self._weights = downmix_weights(head[:, : self._deciding_samples])
        return self._mixed(head)

    def _mixed(self, block: Samples) -> Samples:
        # Channel by channel: a matrix product may round differently in blocks of different length.
        mixed = np.zeros((1, block.shape[1]), np.float32)
        for weight, channel in zip(self.weights, block, strict=True):
            mixed[0] += weight * channel
        return mixed


def downmix_weights(head: Samples) -> NDArray[np.float32]:
    """Weights of the channels: float32 (C,), each 1 / C, negative for a channel of reversed polarity.

    Args:
        head: float32 (C, T), a stretch of the recording that decides.
    """
    products = head.astype(np.float64) @ head.T.astype(np.float64)
    energies = np.diagonal(products)
    loudest = int(energies.argmax())
    scale = np.sqrt(energies * energies[loudest])
    is_reversed = products[loudest] < _REVERSED_CORRELATION * scale
    return (np.where(is_reversed, -1.0, 1.0) / len(head)).astype(np.float32)
