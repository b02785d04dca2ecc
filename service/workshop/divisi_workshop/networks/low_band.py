"""The low end of a signal at a fraction of its rate, and back: where partials of voices collide."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LowBand(nn.Module):
    """To a fraction of the rate and back, by a linear-phase filter."""

    taps: Tensor

    def __init__(self, decimation: int) -> None:
        super().__init__()
        self.decimation = decimation
        reach = 8 * decimation
        time = torch.arange(-reach, reach + 1, dtype=torch.float64)
        window = torch.kaiser_window(2 * reach + 1, periodic=False, beta=7.0, dtype=torch.float64)
        taps = torch.sinc(time / decimation) * window
        self.register_buffer("taps", (taps / taps.sum()).float()[None, None], persistent=False)
        self.reach = reach

    def down(self, signal: Tensor) -> Tensor:
        """Shape: (B, T) -> (B, T / decimation)."""
        padded = functional.pad(signal[:, None], (self.reach, self.reach - self.decimation + 1))
        return functional.conv1d(padded, self.taps, stride=self.decimation)[:, 0]

    def up(self, signal: Tensor) -> Tensor:
        """Shape: (B, V, T / decimation) -> (B, V, T)."""
        flat = signal.flatten(0, 1)[:, None]
        raised = functional.conv_transpose1d(flat, self.decimation * self.taps, stride=self.decimation)
        cut = raised[:, 0, self.reach : raised.shape[2] - self.reach + self.decimation - 1]
        return cut.reshape(signal.shape[0], signal.shape[1], -1)
