"""What remains to be shared out once the pitches have said their part. Last stage of `chorus`.

Masks and partials follow one pitch a voice. In a room the note before still sounds, and of several singers on a part
each has a pitch of its own: there, who sang in a bin a moment ago and who sings beside it says more than the comb of
one pitch. So this net looks at the estimates of all voices side by side, in patches of a few bins and frames, and moves
energy between them:

    refined = a · estimate + m · (mixture − sum of a · estimate)

`a` is a complex gain per voice, bin and frame, near 1 where the estimate is to be trusted; `m` shares out what is left
and sums to 1 over the voices on the roster. The estimates keep summing to the mixture. Weights are the same for all
voices, so any number works. Between its layers every voice is followed through the whole stretch, along its partials.
The last layer starts at zero, which leaves the estimates as they are.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.harmonic_mask import shares
from divisi_workshop.networks.pitch_tracker import FORBIDDEN

REFINED_BINS = 256
"""To 2 kHz: nearly all energy of singing lies below."""
PATCH = (4, 2)
"""How many bins and frames the net sees as one."""
MEMORY_SECONDS = (0.12, 0.4)
"""How long power is remembered, until its amplitude has fallen by a factor of e; the first also looks ahead."""
LOWEST_PITCH_HZ = 60.0
COMB_WIDTH_BINS = 2.0
QUIETEST = 1e-7
"""Power that counts as none; mixtures have unit deviation."""
FEATURE_COUNT, COMB_FEATURE = 14, 7
BLOCKS = (
    ((3, 1), 1, True),
    ((1, 3), 1, False),
    ((1, 3), 2, True),
    ((3, 1), 1, False),
    ((1, 3), 4, True),
    ((1, 3), 8, False),
)
"""Kernel over bins and frames, dilation over frames, and whether the mean of all voices is seen."""
LINE_HIDDEN = 48
LINES_AFTER = (1, 3)
"""The blocks behind which every voice is followed along its partials, through the whole stretch."""
GAIN_LIMIT = 1.0
"""By how much a gain may depart from 1, in each direction."""


class ChoirRefiner(nn.Module):
    """Spectra of a mixture and of estimates that sum to it -> what to add to the estimates, in the lowest bins.

    Shape: mixture (B, F, N), estimates (B, V, F, N), each real and imaginary, masks (B, V, F, N), F0 in Hz and voicing
    (B, V, N), roster (B, V) -> real and imaginary (B, V, REFINED_BINS, N), which sum to 0 over the voices, and are 0
    for voices that are not on the roster.
    """

    bins: Tensor
    height: Tensor
    memory_0: Tensor
    memory_1: Tensor

    def __init__(self, bin_width_hz: float, hop_seconds: float, channels: int = 32) -> None:
        super().__init__()
        self.bin_width_hz = bin_width_hz
        bins = torch.arange(REFINED_BINS, dtype=torch.float32)[:, None]
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("height", torch.log2(bins + 4) / 4 - 1.5, persistent=False)
        for place, seconds in enumerate(MEMORY_SECONDS):
            self.register_buffer(f"memory_{place}", decay_kernel(hop_seconds / seconds), persistent=False)
        # The frame before the first is nobody's; what is said of it is cut off.
        self.enter = nn.Conv2d(FEATURE_COUNT, channels, PATCH, stride=PATCH, padding=(0, PATCH[1] - 1))
        self.blocks = nn.ModuleList(
            VoiceBlock(channels, kernel, dilation, sees_others) for kernel, dilation, sees_others in BLOCKS
        )
        self.lines = nn.ModuleList(VoiceLine(channels, LINE_HIDDEN) for _ in LINES_AFTER)
        self.recording = nn.Sequential(nn.Linear(2 * channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.leave = nn.Conv2d(channels, 3 * PATCH[0] * PATCH[1], 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(
        self,
        mixture: tuple[Tensor, Tensor],
        estimates: tuple[Tensor, Tensor],
        masks: Tensor,
        f0_hz: Tensor,
        voicing: Tensor,
        roster: Tensor,
    ) -> tuple[Tensor, Tensor]:
        real, imag = (part[:, :REFINED_BINS] for part in mixture)
        own_real, own_imag = (part[:, :, :REFINED_BINS] for part in estimates)
        voices = roster.shape[1]
        power = own_real.square() + own_imag.square()
        features = self.features((real, imag), (own_real, own_imag), power, masks[:, :, :REFINED_BINS], f0_hz, voicing)
        share = roster / roster.sum(1, keepdim=True).clamp(min=1.0)
        present = roster[:, :, None, None]

        features = features.flatten(0, 1)
        hidden = functional.relu(self.enter(features))
        comb = functional.avg_pool2d(
            functional.pad(features[:, COMB_FEATURE : COMB_FEATURE + 1], (PATCH[1] - 1, PATCH[1] - 1)), PATCH
        )[..., : hidden.shape[3]]
        for number, block in enumerate(self.blocks):
            hidden = block(hidden, share)
            if number == 1:
                hidden = hidden + self.about_recording(hidden, share)
            if number in LINES_AFTER:
                hidden = self.lines[LINES_AFTER.index(number)](hidden, share, comb)
        answers = self.unfolded(self.leave(hidden), power.shape[3]).float().unflatten(0, (-1, voices))

        total = power.sum(1, keepdim=True)
        prior = torch.log(power + 1e-4 * total + 1e-9)
        left = shares(prior + 3 * answers[:, :, 0] - FORBIDDEN * (1 - present)) * present
        gain_real = GAIN_LIMIT * torch.tanh(answers[:, :, 1]) * present
        gain_imag = GAIN_LIMIT * torch.tanh(answers[:, :, 2]) * present
        change_real = gain_real * own_real - gain_imag * own_imag
        change_imag = gain_real * own_imag + gain_imag * own_real
        return (
            change_real - left * change_real.sum(1, keepdim=True),
            change_imag - left * change_imag.sum(1, keepdim=True),
        )

    def unfolded(self, patches: Tensor, frames: int) -> Tensor:
        """Answers for every bin and frame of each patch. Shape: (B·V, 3 · patch, F', N') -> (B·V, 3, F, N)."""
        rows = patches.unflatten(1, (3, *PATCH))
        whole = rows.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        first = PATCH[1] - 1
        return whole[..., first : first + frames]

    def about_recording(self, hidden: Tensor, share: Tensor) -> Tensor:
        """What the whole stretch is like, for each voice beside the mean of all.

        Shape: (B·V, C, F, N), share (B, V) -> (B·V, C, 1, 1).
        """
        own = hidden.mean(dim=(2, 3)).unflatten(0, share.shape)
        everyone = (own * share[:, :, None]).sum(1, keepdim=True).expand_as(own)
        answer: Tensor = self.recording(torch.cat([own, everyone], dim=2))
        return answer.flatten(0, 1)[:, :, None, None]

    def features(
        self,
        mixture: tuple[Tensor, Tensor],
        estimates: tuple[Tensor, Tensor],
        power: Tensor,
        masks: Tensor,
        f0_hz: Tensor,
        voicing: Tensor,
    ) -> Tensor:
        """What the net reads, power relative to that of the mixture nearby. Shape: (B, V, FEATURE_COUNT, F, N)."""
        mixture_power = mixture[0].square() + mixture[1].square() + QUIETEST
        nearby = functional.avg_pool2d(mixture_power[:, None], 5, 1, 2) + QUIETEST
        total = power.sum(1, keepdim=True)
        # Where a bin is silent beside its neighbours, runtimes round differently: there the ratio fades out.
        scale = 1 / (mixture_power[:, None] + 1e-2 * nearby)
        ratio_real = (estimates[0] * mixture[0][:, None] + estimates[1] * mixture[1][:, None]) * scale
        ratio_imag = (estimates[1] * mixture[0][:, None] - estimates[0] * mixture[1][:, None]) * scale
        comb = self.comb(f0_hz, voicing)
        rows = [
            (torch.log10(mixture_power[:, None]) + 2) / 2,
            relative(mixture_power[:, None], nearby),
            relative(power, nearby),
            relative(total - power, nearby),
            torch.log(masks + 1e-3) / 3 + 1,
            ratio_real.clamp(-3.0, 3.0),
            ratio_imag.clamp(-3.0, 3.0),
            comb,
            comb.sum(1, keepdim=True) - comb,
            *self.memories(power, nearby),
            self.height,
        ]
        return torch.stack([row.expand_as(power) for row in rows], dim=2)

    def comb(self, f0_hz: Tensor, voicing: Tensor) -> Tensor:
        """How near each bin is to a partial. Shape: (B, V, N) -> (B, V, F, N)."""
        spacing = f0_hz.clamp(min=LOWEST_PITCH_HZ)[:, :, None] / self.bin_width_hz
        harmonic = torch.clamp(torch.round(self.bins / spacing), min=1.0)
        distance = (self.bins - harmonic * spacing) / COMB_WIDTH_BINS
        return torch.exp(-0.5 * distance.square()) * voicing[:, :, None]

    def memories(self, power: Tensor, nearby: Tensor) -> list[Tensor]:
        """Whose power this bin has held: against that of others for each memory, and how much for the long one."""
        shape = power.shape
        rows = power.reshape(-1, 1, shape[3])
        short, long = (
            functional.conv1d(functional.pad(rows, (kernel.shape[2], 0))[:, :, :-1], kernel).reshape(shape)
            for kernel in (self.memory_0, self.memory_1)
        )
        reverse = self.memory_0.flip(2)
        ahead = functional.conv1d(functional.pad(rows, (0, reverse.shape[2]))[:, :, 1:], reverse).reshape(shape)
        against = [
            (torch.log(one + QUIETEST) - torch.log(one.sum(1, keepdim=True) - one + QUIETEST)) / 4
            for one in (short, long, ahead)
        ]
        return [*against, relative(long, nearby)]


class VoiceBlock(nn.Module):
    """A residual convolution along time or frequency, which may also see the mean over the voices on the roster.

    Shape: (B·V, C, F, N), share (B, V) -> (B·V, C, F, N).
    """

    def __init__(self, channels: int, kernel: tuple[int, int], dilation: int, sees_others: bool) -> None:
        super().__init__()
        padding = kernel[0] // 2, dilation * (kernel[1] // 2)
        self.own = nn.Conv2d(channels, channels, kernel, padding=padding, dilation=(1, dilation))
        self.everyone = nn.Conv2d(channels, channels, 1, bias=False) if sees_others else None
        with torch.no_grad():
            self.own.weight.mul_(0.7)

    def forward(self, hidden: Tensor, share: Tensor) -> Tensor:
        update = self.own(hidden)
        if self.everyone is not None:
            # One product of matrices; to multiply and then to sum would go through memory twice.
            voices = hidden.reshape(*share.shape, -1)
            mean = torch.matmul(share[:, None], voices).reshape(-1, *hidden.shape[1:])
            update = (update.unflatten(0, share.shape) + self.everyone(mean)[:, None]).flatten(0, 1)
        return hidden + functional.relu(update)


class VoiceLine(nn.Module):
    """What each voice does, frame by frame: the mean over its partials and over all bins, beside that of all voices,
    followed by a recurrent net in both directions; the answers are written back to all bins and to the partials.

    Links the harmonics of a note, and what a voice sang a second ago to what still sounds.

    Shape: (B·V, C, F, N), share (B, V), comb (B·V, 1, F, N) -> (B·V, C, F, N).
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.follow = nn.GRU(4 * channels, size, batch_first=True, bidirectional=True)
        self.answer = nn.Linear(2 * size, 2 * channels)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)

    def forward(self, hidden: Tensor, share: Tensor, comb: Tensor) -> Tensor:
        weights = comb / (comb.sum(2, keepdim=True) + 1e-3)
        own = torch.cat([(hidden * weights).sum(2), hidden.mean(2)], dim=1).unflatten(0, share.shape)
        everyone = (own * share[:, :, None, None]).sum(1, keepdim=True).expand_as(own)
        followed, _ = self.follow(torch.cat([own, everyone], dim=2).flatten(0, 1).transpose(1, 2))
        everywhere, on_partials = self.answer(followed).transpose(1, 2).chunk(2, dim=1)
        return hidden + everywhere[:, :, None] + on_partials[:, :, None] * comb


def relative(power: Tensor, nearby: Tensor) -> Tensor:
    """Logarithm of power against that of the mixture nearby, about unit range."""
    return (torch.log10(power / nearby + 1e-5) + 2) / 2


def decay_kernel(hops: float) -> Tensor:
    """Weights of the frames before, the oldest first; power falls by exp(−2 · hops) a frame. Shape: (1, 1, K)."""
    count = math.ceil(3.5 / hops)
    return torch.exp(-2 * hops * torch.arange(count, 0, -1, dtype=torch.float32))[None, None]
