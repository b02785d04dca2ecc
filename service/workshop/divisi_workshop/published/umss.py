"""The source-filter systems whole: UMSS (Schulze-Forster et al., 2023) and its joint successors (Richard et al., 2024).

mixture ─► multi-F0 ─► one pitch per voice ─► encoder, decoder ─► synthesised voices ─► ratio masks ─► estimates
                                                                       └─► their sum: the re-synthesised mixture

UMSS hands out pitches by a heuristic, VA_NN, VA_NN_0, VA_NN_1 and W_UP by a voice assigner; they differ in what was
trained, not in what runs. Works at 16 kHz, mono.
"""

from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from divisi_workshop.config import STRICT, parse
from divisi_workshop.networks.spectral import RatioMaskSeparation
from divisi_workshop.published.harmonic_bank import Bank, Recursion, regrid_pitch, resample_track
from divisi_workshop.published.hcqt import HcqtConfig
from divisi_workshop.published.multi_f0 import AssignerConfig, MultiF0, MultiF0Config, VoiceAssigner
from divisi_workshop.published.salience_to_f0 import (
    HeuristicAssignment,
    HeuristicConfig,
    Link,
    LinkConfig,
    SalienceToF0,
)
from divisi_workshop.published.source_filter import (
    MixtureEncoder,
    SeparatorConfig,
    SourceFilter,
    SynthesiserConfig,
    VoiceDecoder,
)

SAMPLE_RATE = 16_000
HOP_LENGTH = 256
QUIETEST_PEAK = 1e-6


class Assignment(StrEnum):
    """Who hands out the pitches."""

    HEURISTIC = "heuristic"
    NETWORK = "network"


@dataclass(frozen=True, config=STRICT)
class UmssConfig:
    """The defaults are the published joint model, faults included; `published_umss` and `served` give the others."""

    assignment: Assignment = Assignment.NETWORK
    voice_count: int = 4
    multi_f0: MultiF0Config = field(default_factory=MultiF0Config)
    assigner: AssignerConfig = field(default_factory=AssignerConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    heuristic: HeuristicConfig = field(default_factory=HeuristicConfig)
    separator: SeparatorConfig = field(default_factory=SeparatorConfig)
    synthesiser: SynthesiserConfig = field(default_factory=SynthesiserConfig)
    mask_window: int = 2048
    mask_hop: int = 256
    mask_exponent: float = 1.0
    normalises_level: bool = False
    """Bring every segment to the peak level that training saw; published inference does not."""


class PitchReader(nn.Module):
    """Mixture -> F0 of every voice on the separator's grid. Shape: (B, T) -> (B, V, T / 256)."""

    def __init__(self, config: UmssConfig) -> None:
        super().__init__()
        self.voice_count = config.voice_count
        self.hcqt_config = config.multi_f0.hcqt
        self.multi_f0 = MultiF0(config.multi_f0)
        frequencies_hz = self.multi_f0.hcqt.frequencies_hz()
        self.assigner: VoiceAssigner | None = None
        if config.assignment is Assignment.NETWORK:
            self.assigner = VoiceAssigner(config.assigner)
            self.link = SalienceToF0(frequencies_hz, config.link)
        else:
            self.heuristic = HeuristicAssignment(frequencies_hz, config.heuristic)

    def forward(self, signal: Tensor) -> Tensor:
        salience = self.multi_f0(signal)
        return self.to_grid(self.assign(salience), signal.shape[1] // HOP_LENGTH)

    def assign(self, salience: Tensor) -> Tensor:
        """Pitches on the grid of the salience. Shape: (B, 1, K, N) -> (B, V, N)."""
        if self.assigner is None:
            heuristic: Tensor = self.heuristic(salience)
            return heuristic
        f0_hz: Tensor = self.link(self.assigner(salience))
        return f0_hz

    def to_grid(self, f0_hz: Tensor, frame_count: int) -> Tensor:
        """Shape: (B, V, N) -> (B, V, frame_count)."""
        rows = f0_hz.flatten(0, 1)
        if self.hcqt_config.sample_rate == SAMPLE_RATE:
            regridded = regrid_pitch(rows, self.hcqt_config.hop_length // HOP_LENGTH)
        else:
            regridded = resample_track(rows, frame_count)
            if self.assigner is None:
                # What interpolation left between silence and a pitch is no pitch (a later revision of UMSS).
                lowest = rows.clamp(min=0).masked_fill(rows <= 0, float("inf")).amin(1, keepdim=True)
                regridded = regridded * (regridded >= lowest)
        return regridded.unflatten(0, (-1, f0_hz.shape[1]))


class SourceFilterSeparator(nn.Module):
    """Mixture and pitches -> synthesised voices. Shape: (B, T), (B, V, T / 256) in Hz -> (B, V, T)."""

    def __init__(self, config: UmssConfig) -> None:
        super().__init__()
        self.encoder = MixtureEncoder(config.separator)
        self.decoder = VoiceDecoder(config.separator)
        self.synthesiser = SourceFilter(config.synthesiser)

    def forward(self, mixture: Tensor, f0_hz: Tensor) -> Tensor:
        voices = f0_hz.shape[1]
        embedding = self.encoder(mixture)[:, None].expand(-1, voices, -1, -1).flatten(0, 1)
        rows = f0_hz.flatten(0, 1)
        synthesised: Tensor = self.synthesiser(rows, self.decoder(rows, embedding))
        return synthesised.unflatten(0, (-1, voices))


class Umss(nn.Module):
    """Mixture (B, 1, T) -> estimates (B, V, 1, T), F0 (B, V, T / 256) in Hz, 0 = unvoiced, resynthesis (B, 1, T).

    T is a multiple of 512.
    """

    def __init__(self, config: UmssConfig = UmssConfig()) -> None:
        super().__init__()
        self.config = config
        self.pitch = PitchReader(config)
        self.separator = SourceFilterSeparator(config)
        self.masks = RatioMaskSeparation(config.mask_window, config.mask_hop, config.mask_exponent)

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        signal = mixture[:, 0]
        if self.config.normalises_level:
            peak = signal.abs().amax(1, keepdim=True).clamp(min=QUIETEST_PEAK)
            signal = signal / peak
        f0_hz = self.pitch(signal)
        voices = self.separator(signal, f0_hz)
        estimates, resynthesis = self.masks(signal, voices), voices.sum(1)
        if self.config.normalises_level:
            estimates, resynthesis = estimates * peak[:, None], resynthesis * peak
        return estimates[:, :, None], f0_hz, resynthesis[:, None]


def published_joint() -> UmssConfig:
    """VA_NN, VA_NN_0, VA_NN_1 and W_UP as published: 7 015 492 parameters."""
    sines = SynthesiserConfig(bank=Bank.SINES, recursion=Recursion.SAMPLES)
    return UmssConfig(multi_f0=MultiF0Config(HcqtConfig(batch_reference=True)), synthesiser=sines)


def published_umss(voice_count: int = 4) -> UmssConfig:
    """UMSS as published, its multi-F0 estimator and heuristic in the same graph."""
    return replace(
        published_joint(),
        assignment=Assignment.HEURISTIC,
        voice_count=voice_count,
        heuristic=HeuristicConfig(voice_count=voice_count),
    )


def served(assignment: Assignment = Assignment.NETWORK, voice_count: int = 4) -> UmssConfig:
    """What the bundles hold: narrower networks at 16 kHz, and every listed fault mended."""
    hcqt = HcqtConfig(
        sample_rate=SAMPLE_RATE,
        hop_length=512,
        lowest_hz=61.0,
        bins_per_octave=36,
        bin_count=152,
        reflects_edges=False,
        half_kernels=True,
    )
    return UmssConfig(
        assignment=assignment,
        voice_count=voice_count,
        multi_f0=MultiF0Config(hcqt, tall_height=36, tall_width=1, uses_phase=False),
        assigner=AssignerConfig(
            voice_count, square_channels=16, channels=16, tall_height=49, tall_width=1, branch_width=9
        ),
        link=LinkConfig(Link.REFINED, (0.35,) * voice_count, sums_low_bins=False),
        heuristic=HeuristicConfig(voice_count, threshold=0.45, counts_missing_voices=False, refined=True),
        separator=SeparatorConfig(encoder_hidden=64, embedding=64, decoder_hidden=96, magnitude_floor=1e-4),
        mask_hop=512,
        mask_exponent=1.5,
        normalises_level=True,
    )


PRESETS = {"published_joint": published_joint, "published_umss": published_umss, "served": served}


def build(config: dict[str, Any] | None = None) -> nn.Module:
    """The network for plain values as saved beside a checkpoint; None gives the served joint model."""
    return Umss(served() if config is None else parse(UmssConfig, dict(config)))
