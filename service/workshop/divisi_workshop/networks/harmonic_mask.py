"""Masks from pitches: who owns how much of every bin, given what each voice sings.

Second half of `chorus`. For each voice the spectrum is read along its harmonic series, so that a note looks the
same wherever it lies; a small net shared by all voices works on (harmonic, time), hears from voices whose partials
collide, and its answers are written back to the bins under a comb. A net on the lower bins sees all voices side by
side; a recurrent net over bands deals with consonants and noise, which have no harmonics.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.pitch_tracker import FORBIDDEN

HARMONIC_COUNT = 32
COMB_BINS = 640
"""Combs reach to 5 kHz; above, partials move too fast for one window and bands decide alone."""
DETAIL_BINS = 448
"""The net on single bins works to 3.5 kHz: nearly all error of shared partials lies below."""
BAND_COUNT = 32
LOBES_BINS = (1.3, 3.0)
"""Widths of the comb's two teeth: a steady partial under the window, and a gliding one."""


class HarmonicMask(nn.Module):
    """Compressed spectra and pitch tracks -> share of every voice in every bin.

    There is no class for what is nobody's: given one, the network hides there whatever it cannot assign, and a soloist
    vanishes.

    Shape: `wide` (B, F, N), `narrow` (B, F', N) of twice the resolution, `f0_hz` (B, 4, N) positive everywhere,
    `voicing` (B, 4, N) in 0..1, `roster` (B, 4), 0 for absent voices -> shares (B, 4, F, N) that sum to 1 over the
    second axis, and for every harmonic (B, 4, K, N) a factor: how far it is the steady sine that its pitch promises.
    """

    band_average: Tensor
    band_spread: Tensor

    def __init__(
        self,
        bin_count: int,
        bin_width_hz: float,
        voice_count: int = 4,
        channels: int = 32,
        detail_channels: int = 16,
        band_hidden: int = 64,
    ) -> None:
        super().__init__()
        self.bin_count = bin_count
        self.bin_width_hz = bin_width_hz
        self.voice_count = voice_count
        spread = band_interpolation(bin_count, bin_width_hz, BAND_COUNT)
        self.register_buffer("band_spread", spread, persistent=False)
        self.register_buffer("band_average", (spread / spread.sum(0)).transpose(0, 1).contiguous(), persistent=False)

        self.along = HarmonicNet(6, channels, voice_count)
        teeth = voice_count * (len(LOBES_BINS) + 1)
        self.detail = nn.Sequential(
            nn.Conv2d(teeth + 1, detail_channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(detail_channels, detail_channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(detail_channels, voice_count, 1),
        )
        self.bands_in = nn.Linear(BAND_COUNT + 2 * voice_count, 96)
        self.bands_recurrent = nn.GRU(96, band_hidden, batch_first=True, bidirectional=True)
        self.bands_out = nn.Linear(2 * band_hidden, voice_count * BAND_COUNT)

    def forward(
        self, wide: Tensor, narrow: Tensor, f0_hz: Tensor, voicing: Tensor, roster: Tensor
    ) -> tuple[Tensor, Tensor]:
        answers, trust = self.along(*self.read_harmonics(wide, narrow, f0_hz, voicing))
        teeth = self.comb(answers, f0_hz, voicing)
        detail = self.detail(torch.cat([wide[:, None, :DETAIL_BINS], teeth.flatten(1, 2)[:, :, :DETAIL_BINS]], dim=1))
        combs = functional.pad(teeth.sum(2), (0, 0, 0, self.bin_count - COMB_BINS))
        detail = functional.pad(detail, (0, 0, 0, self.bin_count - DETAIL_BINS))
        absent = (1 - roster)[:, :, None, None]
        masks = shares(combs + detail + self.bands(wide, f0_hz, voicing) - FORBIDDEN * absent)
        return masks, trust

    def read_harmonics(
        self, wide: Tensor, narrow: Tensor, f0_hz: Tensor, voicing: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gather what lies at every partial, and find whose other partials lie there.

        Returns features (B, 4, 6, K, N); for each pair the weight of the collision (B, 4, 4, K, N), 0 with oneself;
        and the partner's harmonic there (B, 4, 4, K, N), counted from 0.
        """
        voices = f0_hz.shape[1]
        order = torch.arange(1, HARMONIC_COUNT + 1, device=f0_hz.device, dtype=f0_hz.dtype)[:, None]
        partial_hz = f0_hz[:, :, None] * order
        # Limits are ramps, not steps: what is read must not jump where runtimes round differently.
        headroom = self.bin_count - 8 - partial_hz / self.bin_width_hz
        present = voicing[:, :, None] * torch.clamp(headroom / 8, 0.0, 1.0)

        at = sample(wide, partial_hz / self.bin_width_hz)
        between = sample(wide, (partial_hz + 0.5 * f0_hz[:, :, None]) / self.bin_width_hz)
        narrow_bin = partial_hz / (0.5 * self.bin_width_hz)
        trust = torch.clamp((narrow.shape[1] - 2 - narrow_bin) / 16, 0.0, 1.0)
        fine = trust * sample(narrow, narrow_bin) + (1 - trust) * at

        others_hz = f0_hz[:, None, :, None]
        harmonic = torch.clamp(torch.round(partial_hz[:, :, None] / others_hz), min=1.0)
        distance_bins = (partial_hz[:, :, None] - harmonic * others_hz) / self.bin_width_hz
        stranger = 1 - torch.eye(voices, device=f0_hz.device)[:, :, None, None]
        collision = torch.exp(-(distance_bins / 2).square()) * voicing[:, None, :, None] * stranger
        partner = torch.clamp(harmonic, max=float(HARMONIC_COUNT)).long() - 1

        height = torch.log2(partial_hz / 500.0) / 4
        features = torch.stack(
            [at * present, between * present, fine * present, present, height * present, collision.sum(2) * present],
            dim=2,
        )
        return features, collision, partner

    def comb(self, answers: Tensor, f0_hz: Tensor, voicing: Tensor) -> Tensor:
        """Write answers (B, 4, J, K, N) of every harmonic to the bins around it. Shape: (B, 4, J, COMB_BINS, N)."""
        bins = torch.arange(COMB_BINS, device=f0_hz.device, dtype=f0_hz.dtype)[:, None] * self.bin_width_hz
        fundamental = f0_hz[:, :, None]
        harmonic = torch.clamp(torch.round(bins / fundamental), min=1.0)
        distance = (bins - harmonic * fundamental) / self.bin_width_hz
        index = (torch.clamp(harmonic, max=float(HARMONIC_COUNT)).long() - 1)[:, :, None]
        spread = torch.gather(answers, 3, index.expand(-1, -1, answers.shape[2], -1, -1))
        # Fading to nothing halfway between partials: where the nearest harmonic changes, nothing jumps, and runtimes
        # that round differently still agree.
        halfway = torch.clamp(distance * self.bin_width_hz / fundamental, -0.5, 0.5)
        fade = torch.cos(math.pi * halfway).square() * voicing[:, :, None]
        shapes = [fade * torch.exp(-0.5 * (distance / width).square()) for width in LOBES_BINS]
        return spread * torch.stack([*shapes, fade], dim=2)

    def bands(self, wide: Tensor, f0_hz: Tensor, voicing: Tensor) -> Tensor:
        """Slow, broad share of every voice. Shape: (B, 4, F, N)."""
        pitch = torch.log2(f0_hz / 250.0) * voicing
        frames = torch.cat([torch.matmul(self.band_average, wide), pitch, voicing], dim=1).transpose(1, 2)
        remembered, _ = self.bands_recurrent(functional.gelu(self.bands_in(frames)))
        logits = self.bands_out(remembered).transpose(1, 2).unflatten(1, (self.voice_count, BAND_COUNT))
        return torch.matmul(self.band_spread, logits)


class HarmonicNet(nn.Module):
    """The net on (harmonic, time), shared by the voices, with one exchange between colliding partials.

    Shape: features (B, 4, I, K, N), collision and partner (B, 4, 4, K, N) -> answers (B, 4, J, K, N), and trust
    (B, 4, K, N).
    """

    messages = 6

    def __init__(self, inputs: int, channels: int, voice_count: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, channels, 3, padding=1)
        self.voice = nn.Parameter(0.1 * torch.randn(voice_count, channels))
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.tell = nn.Conv2d(channels, self.messages, 1)
        self.hear = nn.Conv2d(channels + 2 * self.messages, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=(2, 1), dilation=(2, 1))
        self.third = nn.Conv2d(channels, channels, 3, padding=(1, 2), dilation=(1, 2))
        self.leave = nn.Conv2d(channels, len(LOBES_BINS) + 1, 1)
        self.trust = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(cast(Tensor, self.trust.bias))

    def forward(self, features: Tensor, collision: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
        voices = features.shape[1]
        hidden = self.enter(features.flatten(0, 1)).unflatten(0, (-1, voices))
        hidden = functional.gelu(hidden + self.voice[:, :, None, None]).flatten(0, 1)
        hidden = hidden + functional.gelu(self.first(hidden))
        own = self.tell(hidden)
        heard = self.listen(own.unflatten(0, (-1, voices)), collision, partner)
        hidden = hidden + functional.gelu(self.hear(torch.cat([hidden, own, heard.flatten(0, 1)], dim=1)))
        hidden = hidden + functional.gelu(self.second(hidden))
        hidden = hidden + functional.gelu(self.third(hidden))
        trust = torch.exp(torch.clamp(self.trust(hidden), -4.0, 4.0))
        return self.leave(hidden).unflatten(0, (-1, voices)), trust.squeeze(1).unflatten(0, (-1, voices))

    def listen(self, told: Tensor, collision: Tensor, partner: Tensor) -> Tensor:
        """Sum, for every partial, of what strangers say of theirs at the same place. Shape: (B, 4, M, K, N)."""
        heard = []
        for voice in range(told.shape[1]):
            index = partner[:, voice, :, None].expand(-1, -1, self.messages, -1, -1)
            words = torch.gather(told, 3, index) * collision[:, voice, :, None]
            heard.append(words.sum(1))
        return torch.stack(heard, dim=1)


def shares(logits: Tensor) -> Tensor:
    """Softmax over the voices, the second axis, written out: ONNX Runtime would transpose twice, at ten times the cost.

    Shape: (B, V, F, N) -> the same, sums to 1 over V.
    """
    powers = torch.exp(logits - logits.amax(1, keepdim=True))
    return powers / powers.sum(1, keepdim=True)


def sample(spectrum: Tensor, position: Tensor) -> Tensor:
    """Read a spectrum between its bins. Shape: (B, F, N), position (B, V, K, N) in bins -> (B, V, K, N)."""
    flat = torch.clamp(position.flatten(1, 2), min=0.0, max=float(spectrum.shape[1] - 2))
    below = torch.floor(flat)
    index = below.long()
    share = flat - below
    read = torch.gather(spectrum, 1, index) * (1 - share) + torch.gather(spectrum, 1, index + 1) * share
    return read.unflatten(1, position.shape[1:3])


def band_interpolation(bin_count: int, bin_width_hz: float, band_count: int) -> Tensor:
    """Triangles evenly spaced on the mel scale that sum to 1 in every bin. Shape: (bin_count, band_count)."""
    mel = torch.log1p(torch.arange(bin_count) * bin_width_hz / 700.0)
    position = mel / mel[-1] * (band_count - 1)
    return torch.relu(1 - (position[:, None] - torch.arange(band_count)[None]).abs())
