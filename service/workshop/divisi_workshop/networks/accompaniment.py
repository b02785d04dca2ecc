"""What is not sung: tells a piano, an organ, strings, applause or a hum from voices. First stage of `chorus`.

A struck string decays and a pipe stands still; voices waver, slide and speak. So this net reads, besides power, how a
bin's phase moves from frame to frame and how well steady tones explain it, and answers with what the voices are:

    voices = g · X + h · (X − P) + l · (X − N)

P and N are the mixture X as it would be if the frame before and the frame after went on as steady tones; where one
steady tone sounds alone both differences vanish. g is complex, h and l are real, all per bin. Beside it the net answers
whether anything accompanies at all; where nothing does, the recording passes unchanged.

The last layer starts at zero, which leaves the mixture as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.spectral import ShortTimeFourier

WINDOW_LENGTH, HOP_LENGTH = 4096, 1024
"""In samples: long, since instruments and voices share notes, and a long window parts what wavers from what stands."""
FINE_BINS = 704
"""To 2.75 kHz; above, gains are those of wide bands."""
BAND_COUNT, BAND_BINS = 8, 169
POOLED_BINS = 4
FEATURE_COUNT = 9
STEADY_FRAMES = 5
"""Over which a tone must be steady to be one."""
QUIETEST = 1e-7
"""Power that counts as none; mixtures have unit deviation."""
DILATIONS = (1, 2, 1, 4, 1, 2, 1, 4)
NOTICED = 0.5, 0.7
"""Probabilities between which an accompaniment goes from left alone to taken away."""
GAIN_LIMIT = 1.0


class AccompanimentSplit(nn.Module):
    """Mixtures of unit deviation -> what is not sung in them, and log odds that there is any.

    Shape: (B, T), T a multiple of HOP_LENGTH / 2 -> (B, T), (B,). Where the odds are even or less, nothing is not sung.
    """

    turns_real: Tensor
    turns_imag: Tensor
    height: Tensor

    def __init__(self, channels: int = 32, fine_channels: int = 8) -> None:
        super().__init__()
        self.fourier = ShortTimeFourier(WINDOW_LENGTH, HOP_LENGTH, row_count=64)
        bins = torch.arange(FINE_BINS)
        # A frame later, the phase of a tone at the middle of bin k has turned by k / 4.
        self.register_buffer("turns_real", torch.tensor([1.0, 0, -1, 0])[bins % 4][:, None], persistent=False)
        self.register_buffer("turns_imag", torch.tensor([0.0, 1, 0, -1])[bins % 4][:, None], persistent=False)
        self.register_buffer("height", torch.log2(bins + 8.0)[:, None] / 4 - 1.5, persistent=False)
        self.enter = nn.Conv2d(
            FEATURE_COUNT, channels, (2 * POOLED_BINS, 3), stride=(POOLED_BINS, 1), padding=(POOLED_BINS // 2, 1)
        )
        self.blocks = nn.ModuleList(
            ThinBlock(channels, is_along_time=place % 2 == 0, dilation=dilation)
            for place, dilation in enumerate(DILATIONS)
        )
        self.stretch = nn.Sequential(nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.presence = nn.Sequential(nn.Linear(3 * channels, channels), nn.ReLU(), nn.Linear(channels, 1))
        self.bands = nn.Conv1d(channels + BAND_COUNT, BAND_COUNT, 3, padding=1)
        self.up = nn.Conv2d(channels, POOLED_BINS * fine_channels, 1)
        self.fine = nn.Conv2d(FEATURE_COUNT, fine_channels, 1)
        self.last = nn.Conv2d(fine_channels, fine_channels, 3, padding=1)
        self.leave = nn.Conv2d(fine_channels, 4, 1)
        for layer in (self.leave, self.bands):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        length = signal.shape[1]
        # A recording's odd half of a frame; padding by a full one changes nothing for the rest.
        padded = functional.pad(signal, (0, HOP_LENGTH))[:, : length // HOP_LENGTH * HOP_LENGTH + HOP_LENGTH]
        real, imag = self.fourier.analyse(padded)
        voices_real, voices_imag, odds = self.voices(real, imag)
        rest = self.fourier.synthesise(real - voices_real, imag - voices_imag)[:, :length]
        low, high = NOTICED
        noticed = ((torch.sigmoid(odds) - low) / (high - low)).clamp(0.0, 1.0)
        return rest * noticed[:, None], odds

    def voices(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spectrum of what is sung, and log odds that something is not. Shape: (B, F, N) twice -> the same, (B,)."""
        low_real, low_imag = real[:, :FINE_BINS], imag[:, :FINE_BINS]
        before, after, features = self.features(low_real, low_imag)
        hidden = functional.relu(self.enter(features))
        for number, block in enumerate(self.blocks):
            hidden = block(hidden)
            if number == 2:
                hidden = hidden + self.about_stretch(hidden)
        odds = self.presence(torch.cat([hidden.mean((2, 3)), hidden.mean(2).amax(2), hidden.mean(3).amax(2)], 1))
        frames = hidden.shape[3]
        raised = (
            self.up(hidden)
            .unflatten(1, (-1, POOLED_BINS))
            .transpose(2, 3)
            .reshape(hidden.shape[0], -1, FINE_BINS, frames)
        )
        fine = functional.relu(raised + self.fine(features))
        fine = fine + functional.relu(self.last(fine))
        answers = torch.tanh(self.leave(fine)) * GAIN_LIMIT
        gain_real, gain_imag = 1 + answers[:, 0], answers[:, 1]
        kept_real = gain_real * low_real - gain_imag * low_imag
        kept_imag = gain_real * low_imag + gain_imag * low_real
        kept_real = kept_real + answers[:, 2] * (low_real - before[0]) + answers[:, 3] * (low_real - after[0])
        kept_imag = kept_imag + answers[:, 2] * (low_imag - before[1]) + answers[:, 3] * (low_imag - after[1])
        gains = self.band_gains(real, imag, hidden)
        return (
            torch.cat([kept_real, real[:, FINE_BINS:] * gains], 1),
            torch.cat([kept_imag, imag[:, FINE_BINS:] * gains], 1),
            odds[:, 0],
        )

    def band_gains(self, real: Tensor, imag: Tensor, hidden: Tensor) -> Tensor:
        """Of the bins above FINE_BINS, from 0 to 1.5. Shape: (B, F, N) twice, (B, C, K, N) -> (B, F - FINE_BINS, N)."""
        power = real[:, FINE_BINS:].square() + imag[:, FINE_BINS:].square()
        spare = BAND_COUNT * BAND_BINS - power.shape[1]
        whole = functional.pad(power, (0, 0, 0, spare)).unflatten(1, (BAND_COUNT, BAND_BINS)).mean(2)
        levels = (torch.log10(whole + QUIETEST) + 4) / 2
        gains = 1.5 * torch.sigmoid(self.bands(torch.cat([hidden.mean(2), levels], 1)) + 0.6931472)
        return gains.repeat_interleave(BAND_BINS, 1)[:, : power.shape[1]]

    def about_stretch(self, hidden: Tensor) -> Tensor:
        """What the whole stretch is like. Shape: (B, C, K, N) -> (B, C, 1, 1)."""
        answer: Tensor = self.stretch(torch.cat([hidden.mean((2, 3)), hidden.mean(3).amax(2)], 1))
        return answer[:, :, None, None]

    def features(self, real: Tensor, imag: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
        """The mixture as steady tones would go on from the frame before, and back from the frame after, each real and
        imaginary; and what the net reads. Shape: (B, F, N) twice -> the same, (B, FEATURE_COUNT, F, N).
        """
        last_real, last_imag = (functional.pad(part, (1, 0))[:, :, :-1] for part in (real, imag))
        next_real, next_imag = (functional.pad(part, (0, 1))[:, :, 1:] for part in (real, imag))
        power = real.square() + imag.square() + QUIETEST
        # How the phase has moved since the frame before.
        moved_real = real * last_real + imag * last_imag
        moved_imag = imag * last_real - real * last_imag
        steady_real, steady_imag = (
            functional.avg_pool1d(functional.pad(part, (STEADY_FRAMES // 2, STEADY_FRAMES // 2)), STEADY_FRAMES, 1)
            for part in (moved_real, moved_imag)
        )
        size = torch.sqrt(steady_real.square() + steady_imag.square() + QUIETEST**2)
        turn_real, turn_imag = steady_real / size, steady_imag / size
        later_real, later_imag = (functional.pad(part, (0, 1))[:, :, 1:] for part in (turn_real, turn_imag))
        before = turn_real * last_real - turn_imag * last_imag, turn_real * last_imag + turn_imag * last_real
        after = later_real * next_real + later_imag * next_imag, later_real * next_imag - later_imag * next_real
        nearby = functional.avg_pool2d(power[:, None], (9, 5), 1, (4, 2))[:, 0] + QUIETEST
        scale = 1 / (torch.sqrt(power * functional.pad(power, (1, 0))[:, :, :-1]) + 1e-3 * nearby)
        changed = [
            (torch.log10(((real - one[0]).square() + (imag - one[1]).square()) / (power + 1e-3 * nearby) + 1e-3) + 1)
            / 2
            for one in (before, after)
        ]
        # Relative to the turn of a tone at the bin's middle.
        phase_real = (moved_real * self.turns_real + moved_imag * self.turns_imag) * scale
        phase_imag = (moved_imag * self.turns_real - moved_real * self.turns_imag) * scale
        mean = functional.avg_pool1d(power, STEADY_FRAMES, 1, STEADY_FRAMES // 2)
        features = torch.stack(
            [
                (torch.log10(power) + 2) / 2,
                (torch.log10(power / nearby + 1e-5) + 1) / 2,
                torch.log10(power / (functional.pad(power, (1, 0))[:, :, :-1] + 1e-2 * nearby) + 1e-2),
                *changed,
                phase_real,
                phase_imag,
                2 * size / (mean + QUIETEST) - 1,
                self.height.expand_as(power),
            ],
            dim=1,
        )
        return before, after, features.clamp(-3.0, 3.0)


class ThinBlock(nn.Module):
    """A residual convolution, along time or along frequency, channel by channel and then across channels.

    Shape: (B, C, K, N) -> the same.
    """

    def __init__(self, channels: int, *, is_along_time: bool, dilation: int) -> None:
        super().__init__()
        size, steps = ((1, 5), (1, dilation)) if is_along_time else ((5, 1), (dilation, 1))
        padding = (size[0] // 2) * steps[0], (size[1] // 2) * steps[1]
        self.each = nn.Conv2d(channels, channels, size, padding=padding, dilation=steps, groups=channels)
        self.across = nn.Conv2d(channels, 2 * channels, 1)
        self.back = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        update: Tensor = self.back(functional.relu(self.across(self.each(hidden))))
        return hidden + update
