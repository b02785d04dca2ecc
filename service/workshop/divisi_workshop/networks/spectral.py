"""Short-time Fourier transform as plain matrix products, so that every network's graph can be exported whole.

`torch.stft` and `torch.istft` do not survive export to ONNX, and a DFT written as one convolution carries a matrix of
16 MB into every artifact. Here a frame of R·C samples is transformed in two stages (Cooley and Tukey, 1965): DFTs of
length R down the columns of an R × C table, twiddle factors, DFTs of length C along its rows. The constants shrink to
kilobytes, the work to a tenth, and real arithmetic on reshapes and matrix products is all the exporters see.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_SUM = 1e-12


class ShortTimeFourier(nn.Module):
    """Centred STFT with a periodic Hann window, and its inverse by normalised overlap-add.

    Spectra are scaled so that a sine of amplitude 1 has magnitude 1 at its bin. Signals are padded by zeros.
    `window_length` must be a multiple of `hop_length`, and of 2 · `row_count`.
    """

    window: Tensor
    row_cos: Tensor
    row_sin: Tensor
    twiddle_cos: Tensor
    twiddle_sin: Tensor
    column_cos: Tensor
    column_sin: Tensor
    one_sided: Tensor

    def __init__(self, window_length: int, hop_length: int, row_count: int = 32) -> None:
        super().__init__()
        if window_length % hop_length or window_length % (2 * row_count):
            raise ValueError(f"window {window_length} must be a multiple of hop {hop_length} and of {2 * row_count}")
        self.window_length = window_length
        self.hop_length = hop_length
        self.row_count = row_count
        self.column_count = window_length // row_count
        self.bin_count = window_length // 2 + 1
        self.overlap = window_length // hop_length
        window = torch.hann_window(window_length, dtype=torch.float64)
        self.scale = 2.0 / float(window.sum())

        rows = torch.arange(row_count, dtype=torch.float64)
        columns = torch.arange(self.column_count, dtype=torch.float64)
        half = torch.arange(self.column_count // 2 + 1, dtype=torch.float64)
        weights = torch.full((self.bin_count,), 2.0, dtype=torch.float64)
        weights[0] = weights[-1] = 1.0
        self._constant("window", window)
        self._wave("row", torch.outer(rows, rows) / row_count)
        self._wave("twiddle", torch.outer(rows, columns) / window_length)
        self._wave("column", torch.outer(columns, half) / self.column_count)
        self._constant("one_sided", (weights / window_length)[:, None])

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.float(), persistent=False)

    def _wave(self, name: str, turns: Tensor) -> None:
        """Register cosine and sine of `turns` full circles."""
        self._constant(f"{name}_cos", torch.cos(2 * math.pi * turns))
        self._constant(f"{name}_sin", torch.sin(2 * math.pi * turns))

    def analyse(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary spectrum.

        Shape: (B, T) -> twice (B, F, N), F = window_length / 2 + 1, N = T / hop_length + 1; T a multiple of the hop.
        """
        half = self.window_length // 2
        blocks = functional.pad(signal, (half, half)).reshape(signal.shape[0], -1, self.hop_length)
        frame_count = blocks.shape[1] - self.overlap + 1
        frames = torch.cat([blocks[:, j : j + frame_count] for j in range(self.overlap)], dim=2)
        table = (frames * (self.window * self.scale)).reshape(signal.shape[0], -1, self.row_count, self.column_count)
        # Column DFTs: k1 down the rows.
        real = torch.matmul(self.row_cos, table)
        imag = -torch.matmul(self.row_sin, table)
        real, imag = (
            real * self.twiddle_cos + imag * self.twiddle_sin,
            imag * self.twiddle_cos - real * self.twiddle_sin,
        )
        # Row DFTs: bin k = k1 + R · k2, hence the transpose before flattening.
        out_real = torch.matmul(real, self.column_cos) + torch.matmul(imag, self.column_sin)
        out_imag = torch.matmul(imag, self.column_cos) - torch.matmul(real, self.column_sin)
        return self._flatten(out_real), self._flatten(out_imag)

    def _flatten(self, table: Tensor) -> Tensor:
        """(B, N, k1, k2) -> (B, F, N)"""
        spectrum = table.transpose(2, 3).flatten(2)[:, :, : self.bin_count]
        return spectrum.transpose(1, 2)

    def synthesise(self, real: Tensor, imag: Tensor) -> Tensor:
        """Inverse of `analyse` by least-squares overlap-add.

        Shape: twice (B, F, N) -> (B, T), T = (N − 1) · hop_length.
        """
        real, imag = self._table(real), self._table(imag)
        column_cos, column_sin = self.column_cos.transpose(0, 1), self.column_sin.transpose(0, 1)
        inner_real = torch.matmul(real, column_cos) - torch.matmul(imag, column_sin)
        inner_imag = torch.matmul(imag, column_cos) + torch.matmul(real, column_sin)
        inner_real, inner_imag = (
            inner_real * self.twiddle_cos - inner_imag * self.twiddle_sin,
            inner_imag * self.twiddle_cos + inner_real * self.twiddle_sin,
        )
        table = torch.matmul(self.row_cos, inner_real) - torch.matmul(self.row_sin, inner_imag)
        frames = table.flatten(2) * (self.window / self.scale)
        coverage = torch.ones_like(frames[:1, :, :1]) * self.window.square()
        return self._overlap_add(frames) / self._overlap_add(coverage)

    def _table(self, spectrum: Tensor) -> Tensor:
        """(B, F, N) -> (B, N, k1, k2), one-sided weights applied, bins beyond the Nyquist bin zero."""
        spare = self.row_count * (self.column_count // 2 + 1) - self.bin_count
        weighted = functional.pad((spectrum * self.one_sided).transpose(1, 2), (0, spare))
        return weighted.reshape(weighted.shape[0], -1, self.column_count // 2 + 1, self.row_count).transpose(2, 3)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(B, N, window_length) -> (B, (N − 1) · hop_length), the padding of `analyse` cut off."""
        blocks = frames.reshape(frames.shape[0], -1, self.overlap, self.hop_length)
        total = functional.pad(blocks[:, :, 0], (0, 0, 0, self.overlap - 1))
        for j in range(1, self.overlap):
            total = total + functional.pad(blocks[:, :, j], (0, 0, j, self.overlap - 1 - j))
        half = self.window_length // 2
        return total.flatten(1)[:, half:-half]


def compress(real: Tensor, imag: Tensor) -> Tensor:
    """Log magnitude with a floor 34 dB below full scale, near unit range for mixtures of unit deviation. Any shape."""
    magnitude = torch.sqrt(real.square() + imag.square() + 1e-12)
    return 0.8 * torch.log10(magnitude + 0.02) + 0.3


def ratio_masks(magnitudes: Tensor, exponent: float = 1.0) -> Tensor:
    """Shares of magnitude estimates (B, S, F, N) that are not negative; they sum to 1 wherever anything sounds."""
    weights = magnitudes if exponent == 1.0 else magnitudes**exponent
    return weights / (weights.sum(1, keepdim=True) + LEAST_SUM)


class RatioMaskSeparation(nn.Module):
    """The mixture divided by the spectra of synthesised voices.

    Shape: mixture (B, T), voices (B, S, T) -> (B, S, T). The published masks have exponent 1; steeper ones separate
    better (see the model cards).
    """

    def __init__(self, window_length: int = 2048, hop_length: int = 256, exponent: float = 1.0) -> None:
        super().__init__()
        self.fourier = ShortTimeFourier(window_length, hop_length)
        self.exponent = exponent

    def forward(self, mixture: Tensor, voices: Tensor) -> Tensor:
        # One transform for mixture and voices, the mixture first: the exporter follows the batch of the graph's input,
        # but takes that of synthesised voices for fixed.
        real, imag = self.fourier.analyse(torch.cat([mixture, voices.flatten(0, 1)]))
        batch = mixture.shape[0]
        power = (real[batch:].square() + imag[batch:].square()).unflatten(0, (-1, voices.shape[1]))
        real, imag = real[:batch], imag[:batch]
        masks = ratio_masks(power, self.exponent / 2)
        waves = self.fourier.synthesise((masks * real[:, None]).flatten(0, 1), (masks * imag[:, None]).flatten(0, 1))
        return waves.unflatten(0, (-1, voices.shape[1]))
