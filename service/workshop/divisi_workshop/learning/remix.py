"""Batches: single voices drawn, transposed, placed in rooms and summed, each batch a function of (seed, step) alone.

Three ways to draw four voices: `coherent` (the same moment of one piece, one transposition: real harmony), `incoherent`
(each voice from anywhere: no harmony to lean on) and `resung` (synthetic choirs, many pieces). In a share of mixtures
one to three voices are missing, so that an absent voice is learned as silence.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from pydantic.dataclasses import dataclass

from divisi_workshop.choirs.rooms import place_in_room
from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir, Part, excerpt
from divisi_workshop.config import STRICT


@dataclass(frozen=True, config=STRICT)
class RemixOptions:
    """How mixtures are made. Shares are probabilities."""

    excerpt_seconds: float = 4.0
    hop_length: int = 512
    resung_share: float = 0.6
    incoherent_share: float = 0.15
    transpose_semitones: float = 4.0
    gain_db: float = 4.5
    room_share: float = 0.6
    missing_share: float = 0.2
    told_share: float = 0.5
    """How often the network is told which voices are missing."""
    stagger_share: float = 0.3
    noise_db: tuple[float, float] = (-60.0, -32.0)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Mixture (B, T) and sources (B, 4, T), float32; F0 (B, 4, N) in Hz, 0 where unvoiced or absent; roster (B, 4), 0
    for voices that the network is told are absent.
    """

    mixture: np.ndarray
    sources: np.ndarray
    f0_hz: np.ndarray
    roster: np.ndarray


class Remixer:
    """Draws batches from real choirs and, where there are any, from re-sung ones."""

    def __init__(self, real: Sequence[Choir], resung: Sequence[Choir], options: RemixOptions, seed: int) -> None:
        self.real = list(real)
        self.resung = list(resung)
        self.options = options
        self.seed = seed
        self.sample_count = round(options.excerpt_seconds * SAMPLE_RATE) // options.hop_length * options.hop_length

    def batch(self, step: int, size: int) -> Batch:
        """The batch of one step: always the same for the same seed, step and material."""
        rng = np.random.default_rng((self.seed, step))
        examples = [self.example(rng) for _ in range(size)]
        return Batch(*(np.stack(values).astype(np.float32) for values in zip(*examples, strict=True)))

    def example(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One mixture (T,) of unit deviation, its sources (4, T), tracks (4, N) and roster (4,)."""
        sources, tracks = self.draw(rng)
        sources = place_in_room(rng, sources, with_room=rng.random() < self.options.room_share)
        sources *= 10 ** (rng.normal(0, self.options.gain_db, (4, 1)) / 20)
        sings = self.who_sings(rng)
        roster = sings if rng.random() < self.options.told_share else np.ones(4)
        sources, tracks = sources * sings[:, None], tracks * sings[:, None]
        mixture = sources.sum(0)
        level = max(float(np.sqrt(np.mean(mixture**2))), 1e-6)
        noise = level * 10 ** (rng.uniform(*self.options.noise_db) / 20) * rng.standard_normal(self.sample_count)
        mixture = (mixture + noise) / level
        return mixture, sources / level, tracks, roster

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Four voices and their tracks, one of the three ways."""
        way = rng.random()
        common = rng.uniform(-self.options.transpose_semitones, self.options.transpose_semitones)
        if self.resung and way < self.options.resung_share:
            choir = self.resung[rng.integers(len(self.resung))]
            start = self.random_start(rng, choir.seconds)
            starts = np.full(4, start)
            if choir.quarter_seconds and rng.random() < self.options.stagger_share:
                starts = start - choir.quarter_seconds * rng.integers(0, 8, 4)
            return self.cut([pick(rng, voice) for voice in choir.parts], starts, np.full(4, common))
        choir = self.real[rng.integers(len(self.real))]
        parts = [pick(rng, voice) for voice in choir.parts]
        incoherent = rng.random() < self.options.incoherent_share / max(1 - self.options.resung_share, 1e-6)
        if incoherent:
            starts = np.array([self.random_start(rng, part.seconds) for part in parts])
            own = rng.uniform(-self.options.transpose_semitones, self.options.transpose_semitones, 4)
            return self.cut(parts, starts, own)
        return self.cut(parts, np.full(4, self.random_start(rng, choir.seconds)), np.full(4, common))

    def random_start(self, rng: np.random.Generator, seconds: float) -> float:
        """A moment from which about one excerpt fits; a little silence before and after is welcome."""
        return rng.uniform(-0.5, max(seconds - self.options.excerpt_seconds, 0.0) + 0.1)

    def cut(self, parts: Sequence[Part], starts: np.ndarray, semitones: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = [
            excerpt(part, float(start), float(shift), self.sample_count, self.options.hop_length)
            for part, start, shift in zip(parts, starts, semitones, strict=True)
        ]
        return np.stack([samples for samples, _ in pairs]), np.stack([track for _, track in pairs])

    def who_sings(self, rng: np.random.Generator) -> np.ndarray:
        """All four, or in a share of the mixtures one, two or three of them. Shape: (4,), 1 or 0."""
        sings = np.ones(4, dtype=np.float32)
        if rng.random() < self.options.missing_share:
            sings[rng.permutation(4)[: rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25])]] = 0
        return sings


def pick(rng: np.random.Generator, singers: Sequence[Part]) -> Part:
    return singers[int(rng.integers(len(singers)))]
