"""The salience of every pitch in every frame, whoever sings it, and whose it is.

`MultiF0` ("Late/Deep", Cuesta et al., 2020): levels and phase steps of an HCQT pass two like branches of convolutions;
what they found is put together and read over the whole range of pitches. No pooling: a bin in is a bin out.
`VoiceAssigner` ("VOAS-CNN", Cuesta and Gómez, 2022): a trunk looks for where in the texture a ridge lies; four like
branches take their own. The outputs are independent: nothing keeps two voices from claiming one pitch.
"""

from dataclasses import field
from typing import cast

from pydantic.dataclasses import dataclass
from torch import Tensor, cat, nn
from torch.nn import functional

from divisi_workshop.config import STRICT
from divisi_workshop.published.hcqt import Hcqt, HcqtConfig

NORM_EPS = 1e-3
QUIET_BIAS = -4.0


@dataclass(frozen=True, config=STRICT)
class MultiF0Config:
    """The defaults are the published network."""

    hcqt: HcqtConfig = field(default_factory=HcqtConfig)
    first_channels: int = 16
    channels: int = 32
    square_size: int = 5
    square_count: int = 3
    """Square convolutions of a branch after its first."""
    tall_height: int = 70
    tall_width: int = 3
    tall_count: int = 2
    late_channels: int = 64
    full_channels: int = 8
    uses_phase: bool = True


class SameConv2d(nn.Conv2d):
    """Convolution that keeps the size, also with even kernels: they reach one step further behind than before.

    The padding is part of the convolution where its kernel is odd; an even one is padded beforehand.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, kernel)
        self.before = tuple((size - 1) // 2 for size in kernel)
        self.after = tuple(size - 1 - (size - 1) // 2 for size in kernel)

    def forward(self, features: Tensor) -> Tensor:
        if self.before == self.after:
            return functional.conv2d(features, self.weight, self.bias, padding=self.before)
        padded = functional.pad(features, (self.before[1], self.after[1], self.before[0], self.after[0]))
        return functional.conv2d(padded, self.weight, self.bias)


def conv_block(inputs: int, outputs: int, kernel: tuple[int, int]) -> list[nn.Module]:
    """Convolution, ReLU, batch norm, in the published order."""
    return [SameConv2d(inputs, outputs, kernel), nn.ReLU(), nn.BatchNorm2d(outputs, eps=NORM_EPS)]


class MultiF0(nn.Module):
    """Signal -> salience. Shape: (B, T) at 16 kHz -> (B, 1, K, N), 0..1; bins and frames are those of `hcqt`."""

    def __init__(self, config: MultiF0Config = MultiF0Config()) -> None:
        super().__init__()
        self.config = config
        self.hcqt = Hcqt(config.hcqt)
        self.branch_magnitude = self._branch()
        self.branch_phase = self._branch() if config.uses_phase else None
        joined = config.channels * (2 if config.uses_phase else 1)
        late, full = config.late_channels, config.full_channels
        self.late = nn.Sequential(
            *conv_block(joined, late, (3, 3)),
            *conv_block(late, late, (3, 3)),
            *conv_block(late, full, (config.hcqt.bin_count, 1)),
            SameConv2d(full, 1, (1, 1)),
            nn.Sigmoid(),
        )
        # Nearly all bins are silent: saying so from the start saves the first steps.
        nn.init.constant_(cast(Tensor, self.late[-2].bias), QUIET_BIAS)

    def _branch(self) -> nn.Sequential:
        config = self.config
        square, tall = (config.square_size, config.square_size), (config.tall_height, config.tall_width)
        sizes = [config.first_channels] + [config.channels] * (config.square_count + config.tall_count)
        kernels = [square] * config.square_count + [tall] * config.tall_count
        blocks = conv_block(config.hcqt.harmonic_count, config.first_channels, square)
        for inputs, outputs, kernel in zip(sizes[:-1], sizes[1:], kernels, strict=True):
            blocks += conv_block(inputs, outputs, kernel)
        return nn.Sequential(nn.BatchNorm2d(config.hcqt.harmonic_count, eps=NORM_EPS), *blocks)

    def forward(self, signal: Tensor) -> Tensor:
        return self.salience(*self.hcqt(signal))

    def salience(self, real: Tensor, imag: Tensor) -> Tensor:
        """From the transform on. Shape: twice (B, H, K, N) -> (B, 1, K, N)."""
        features = self.branch_magnitude(self.hcqt.levels_db(real, imag))
        if self.branch_phase is not None:
            features = cat([features, self.branch_phase(self.hcqt.phase_steps(real, imag))], dim=1)
        salience: Tensor = self.late(features)
        return salience


@dataclass(frozen=True, config=STRICT)
class AssignerConfig:
    """The defaults are the published network, which sees 13 frames (0.15 s) at a time."""

    voice_count: int = 4
    square_channels: int = 32
    channels: int = 16
    tall_height: int = 70
    tall_width: int = 3
    branch_width: int = 3
    """Frames under the kernels of the branches: what they can know of the melody."""


class VoiceAssigner(nn.Module):
    """Salience (B, 1, K, N) -> salience of every voice (B, V, K, N), each 0..1, in score order."""

    def __init__(self, config: AssignerConfig = AssignerConfig()) -> None:
        super().__init__()
        self.config = config
        square, channels = config.square_channels, config.channels
        tall = (config.tall_height, config.tall_width)
        self.trunk = nn.Sequential(
            nn.BatchNorm2d(1, eps=NORM_EPS),
            *conv_block(1, square, (3, 3)),
            *conv_block(square, square, (3, 3)),
            *conv_block(square, channels, tall),
            *conv_block(channels, channels, tall),
        )
        self.branches = nn.ModuleList(self._branch() for _ in range(config.voice_count))
        for branch in self.branches:
            nn.init.constant_(cast(Tensor, cast(nn.Sequential, branch)[-2].bias), QUIET_BIAS)

    def _branch(self) -> nn.Sequential:
        channels, kernel = self.config.channels, (3, self.config.branch_width)
        return nn.Sequential(
            *conv_block(channels, channels, kernel),
            SameConv2d(channels, channels, kernel),
            nn.ReLU(),
            SameConv2d(channels, 1, (1, 1)),
            nn.Sigmoid(),
        )

    def forward(self, salience: Tensor) -> Tensor:
        shared = self.trunk(salience)
        return cat([branch(shared) for branch in self.branches], dim=1)
