"""Voice assigner: from the salience of all voices to one salience per voice ("VOAS-CNN", Cuesta and Gómez, 2022).

A trunk looks for where in the texture a ridge lies; four like branches take their own. The outputs are independent:
nothing keeps two voices from claiming one pitch.
"""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, cat, nn

from divisi_workshop.networks.multi_f0 import NORM_EPS, QUIET_BIAS, SameConv2d, conv_block


@dataclass(frozen=True)
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
