"""`chorus`: four voices of a choir from one recording, in one graph from waveform to waveforms.

mixture ─► `AccompanimentSplit`, where the configuration has one ─► voices alone
voices ─► two spectra ─► `PitchTracker` ─► F0 per voice ─► `HarmonicMask` ─► masks ─► `PartialSplit` ─► first estimates
        ─► `ChoirRefiner` ─► estimates

Works at 16 kHz, mono. The graph sets the level itself: twice as loud in gives twice as loud out.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.accompaniment import AccompanimentSplit
from divisi_workshop.networks.choir_refiner import ChoirRefiner
from divisi_workshop.networks.harmonic_mask import HarmonicMask
from divisi_workshop.networks.partials import SPLITTING_BAND, PartialSplit
from divisi_workshop.networks.pitch_tracker import PitchDecoder, PitchTracker
from divisi_workshop.networks.spectral import ShortTimeFourier, compress

SAMPLE_RATE = 16_000
VOICES = ("soprano", "alto", "tenor", "bass")
QUIETEST_LEVEL = 1e-7
"""Root mean square below which a recording counts as silence rather than as a very soft choir."""

LEAST_SUNG = 0.5
"""Of a recording's level: what an accompaniment leaves of it is not turned up by more."""


@dataclass(frozen=True)
class ChorusConfig:
    """Sizes of the network; the defaults are the shipped model."""

    hop_length: int = 512
    window_length: int = 2048
    narrow_bins: int = 640
    """Bins of the window of twice the length, 0 to 2.5 kHz."""
    pitch_channels: int = 32
    pitch_hidden: int = 128
    refined_hidden: int = 96
    mask_channels: int = 32
    detail_channels: int = 16
    band_hidden: int = 64
    refiner_channels: int = 32
    has_accompaniment: bool = False
    """A first stage and a fifth estimate: what is not sung."""
    dropout: float = 0.1


Spectrum = tuple[Tensor, Tensor]
"""Real and imaginary parts."""


class FirstStages(NamedTuple):
    """What the refiner is given, and who sings: spectra of the mixture (B, F, N), of the voices' partials (B, 4, F', N)
    in the lowest bins, and of what each voice has of the rest (B, 4, F, N); masks (B, 4, F, N), F0 and voicing
    (B, 4, N), presence (B, 4).
    """

    mixture: Spectrum
    partials: Spectrum
    shares: Spectrum
    masks: Tensor
    f0_hz: Tensor
    voicing: Tensor
    presence: Tensor

    def estimates(self) -> Spectrum:
        """Spectra of the estimates so far in the lowest bins, (B, 4, F', N)."""
        real, imag = (own + share[:, :, : own.shape[2]] for own, share in zip(self.partials, self.shares, strict=True))
        return real, imag


class Chorus(nn.Module):
    """Mixture (B, 1, T) and roster (B, 4) -> estimates (B, 4, 1, T), F0 (B, 4, N) in Hz, 0 where a voice is silent or
    unvoiced, voicing (B, 4, N), how sure that is, 0 to 1, and presence (B, 4), log odds that a voice sings at all.

    The roster is 1 for voices that may sing and 0 for those known to be absent, whose estimates come out silent. With
    an accompaniment, that is a fifth of everything, without pitch; where it is absent, the voices are the mixture.

    T is a multiple of `hop_length`; N = T / hop_length + 1, frame n centred on sample n · hop_length.
    """

    def __init__(self, config: ChorusConfig) -> None:
        super().__init__()
        self.config = config
        bin_width_hz = SAMPLE_RATE / config.window_length
        self.accompaniment = AccompanimentSplit() if config.has_accompaniment else None
        self.fourier = ShortTimeFourier(config.window_length, config.hop_length)
        self.long_fourier = ShortTimeFourier(2 * config.window_length, config.hop_length)
        decimation = SPLITTING_BAND.decimation
        # Partials lie low: their spectrum is taken where they are found, at a fraction of the rate.
        self.low_fourier = ShortTimeFourier(config.window_length // decimation, config.hop_length // decimation)
        self.pitch = PitchTracker(
            self.fourier.bin_count,
            config.narrow_bins,
            bin_width_hz,
            channels=config.pitch_channels,
            hidden=config.pitch_hidden,
            refined_hidden=config.refined_hidden,
            dropout=config.dropout,
        )
        self.decode = PitchDecoder()
        self.mask = HarmonicMask(
            self.fourier.bin_count,
            bin_width_hz,
            channels=config.mask_channels,
            detail_channels=config.detail_channels,
            band_hidden=config.band_hidden,
        )
        self.partials = PartialSplit(SAMPLE_RATE, config.hop_length, bin_width_hz)
        self.refine = ChoirRefiner(
            bin_width_hz,
            config.hop_length / SAMPLE_RATE,
            channels=config.refiner_channels,
        )

    def forward(self, mixture: Tensor, roster: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.accompaniment is None:
            return self.voices(mixture, roster)
        level = level_of(mixture)
        rest, odds = self.accompaniment((mixture / level).squeeze(1))
        rest = (rest * roster[:, -1:])[:, None] * level
        estimates, f0_hz, voicing, presence = self.voices(mixture - rest, roster[:, :-1], LEAST_SUNG * level)
        return (
            torch.cat([estimates, rest[:, None]], 1),
            functional.pad(f0_hz, (0, 0, 0, 1)),
            functional.pad(voicing, (0, 0, 0, 1)),
            torch.cat([presence, odds[:, None]], 1),
        )

    def voices(
        self, mixture: Tensor, roster: Tensor, least_level: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `forward` gives, of a mixture of nothing but voices, which counts as no softer than `least_level`."""
        level = level_of(mixture)
        if least_level is not None:
            level = torch.maximum(level, least_level)
        signal = (mixture / level).squeeze(1)
        first = self.first_stages(signal, roster)
        changes = self.refine(first.mixture, first.estimates(), first.masks, first.f0_hz, first.voicing, roster)
        refined = [
            whole(own + whole(change, own.shape[2]), share.shape[2]) + share
            for own, change, share in zip(first.partials, changes, first.shares, strict=True)
        ]
        estimates = self.fourier.synthesise(*(part.flatten(0, 1) for part in refined))
        estimates = estimates.unflatten(0, roster.shape)[:, :, None] * level[:, None]
        return estimates, first.f0_hz * (first.voicing > 0.5), first.voicing, first.presence

    def first_stages(self, signal: Tensor, roster: Tensor) -> FirstStages:
        """All but the refiner, on a signal of unit level. Shape: (B, T), (B, 4)."""
        real, imag, wide, narrow = self.spectra(signal)
        _, heard, presence = self.pitch(wide, narrow, roster)
        f0_hz, voicing = self.decode(heard)
        f0_hz, partials, masks, rest = self.split(signal, (real, imag), wide, narrow, f0_hz, voicing, roster)
        shares = masks * rest[0][:, None], masks * rest[1][:, None]
        return FirstStages((real, imag), partials, shares, masks, f0_hz, voicing, presence)

    def split(
        self,
        signal: Tensor,
        spectrum: tuple[Tensor, Tensor],
        wide: Tensor,
        narrow: Tensor,
        f0_hz: Tensor,
        voicing: Tensor,
        roster: Tensor,
    ) -> tuple[Tensor, Spectrum, Tensor, Spectrum]:
        """Masks first, then partials; what is no partial is left to the masks.

        Returns mended pitches (B, 4, N), the spectrum of the voices' partials in the lowest bins (B, 4, F', N), masks
        (B, 4, F, N), and the spectrum of what no partial explains (B, F, N).
        """
        masks, trust = self.mask(wide, narrow, f0_hz, voicing, roster)
        magnitude = torch.sqrt(spectrum[0].square() + spectrum[1].square() + 1e-12)
        f0_hz, partials = self.partials(signal, masks * magnitude[:, None], trust, f0_hz, voicing)
        real, imag = (part.unflatten(0, roster.shape) for part in self.low_fourier.analyse(partials.flatten(0, 1)))
        bin_count = self.fourier.bin_count
        rest = spectrum[0] - whole(real.sum(1), bin_count), spectrum[1] - whole(imag.sum(1), bin_count)
        return f0_hz, (real, imag), masks, rest

    def spectra(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Spectrum of a signal of unit level, and what the networks read of it.

        Shape: (B, T) -> real, imag and compressed `wide` (B, F, N), compressed `narrow` (B, narrow_bins, N).
        """
        real, imag = self.fourier.analyse(signal)
        long_real, long_imag = self.long_fourier.analyse(signal)
        kept = self.config.narrow_bins
        return real, imag, compress(real, imag), compress(long_real[:, :kept], long_imag[:, :kept])


def level_of(mixture: Tensor) -> Tensor:
    """Root mean square. Shape: (B, 1, T) -> (B, 1, 1)."""
    return mixture.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=QUIETEST_LEVEL)


def whole(low: Tensor, bin_count: int) -> Tensor:
    """A spectrum of the lowest bins with zeros above. Shape: (..., F', N) -> (..., bin_count, N)."""
    return functional.pad(low, (0, 0, 0, bin_count - low.shape[-2]))


def build(config: dict[str, Any] | None = None) -> nn.Module:
    """The network for a configuration as saved beside a checkpoint; None gives the defaults."""
    return Chorus(ChorusConfig(**(config or {})))


def default_config() -> dict[str, Any]:
    """The configuration `build(None)` uses, as plain values."""
    return asdict(ChorusConfig())
