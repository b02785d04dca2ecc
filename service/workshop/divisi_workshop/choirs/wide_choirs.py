"""Choirs of other voices than the recorded ones: speech synthesisers taught to sing, and blends of them with singers.

`speech` sings the chorales as they are written; `textures` also sings other scores in other textures (`scores`), with
up to four singers on a part. A channel is the sum of the singers of a part; its label is their mean pitch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from divisi_workshop.choirs.melodies import FRAME_RATE, STYLES, Melody, draw_melody
from divisi_workshop.choirs.scores import draw_score, draw_texture
from divisi_workshop.choirs.speech_voices import SpeechVoice, sung_time
from divisi_workshop.choirs.world_voices import (
    Singer,
    along,
    blended,
    breathier,
    draw_text,
    evened,
    scaled,
    sing,
    tilted,
)

# Resonances against those of a man's speech; a singer's part tells the usual length of the tract.
PART_TRACTS = (1.18, 1.12, 1.02, 0.95)
LONG_TRACT, SHORT_TRACT = 1.0, 1.14
SHORT_TRACT_HZ = 165.0
"""Who speaks above this pitch is taken to have the shorter tract."""

LEVEL = 0.06


@dataclass(frozen=True)
class Cast:
    """Who can sing: recorded singers for each part in score order, and speakers, who sing any part."""

    recorded: Sequence[Sequence[Singer]]
    speakers: Sequence[SpeechVoice]


@dataclass(frozen=True)
class Shares:
    """How choirs are drawn; probabilities. The rest of the voices are speakers alone."""

    recorded: float
    blend_with_recorded: float
    blend_of_speakers: float
    several_singers: float
    other_scores: float
    textures: float


SHARES = {"speech": Shares(0.0, 0.25, 0.15, 0.05, 0.0, 0.0), "textures": Shares(0.3, 0.2, 0.1, 0.3, 0.45, 1.0)}


def make_choir(
    rng: np.random.Generator, cast: Cast, chorales: Sequence[np.ndarray], shares: Shares, seconds: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """One choir of four parts. Returns samples (4, T), F0 (4, L) in Hz and the length of a beat in seconds."""
    scores = [draw_score(rng)] if rng.random() < shares.other_scores else chorales
    melody = draw_melody(rng, scores, seconds)
    if rng.random() < shares.textures:
        melody = Melody(draw_texture(rng, melody), melody.quarter_seconds)
    several = int(rng.integers(2, 5)) if rng.random() < shares.several_singers else 1
    # One speaker in all four parts, now and then saying the same at the same time: what homophony is like.
    common = rng.random() < 0.35
    speaker = cast.speakers[int(rng.integers(len(cast.speakers)))]
    text_seed = int(rng.integers(2**31))
    parts = []
    for part, midi in enumerate(melody.midi):
        text = np.random.default_rng(text_seed if common else int(rng.integers(2**31)))
        chosen = speaker if common else cast.speakers[int(rng.integers(len(cast.speakers)))]
        count = int(rng.integers(1, several + 1)) if several > 1 else 1
        timbre, gain = draw_timbre(rng, text, cast, shares, part, chosen, len(midi))
        parts.append(sing_part(rng, timbre, gain, midi, count))
    return np.stack([samples for samples, _ in parts]), np.stack([f0 for _, f0 in parts]), melody.quarter_seconds


def draw_timbre(
    rng: np.random.Generator,
    text: np.random.Generator,
    cast: Cast,
    shares: Shares,
    part: int,
    speaker: SpeechVoice,
    frame_count: int,
) -> tuple[Singer, np.ndarray]:
    """A voice on the time of the song, (N,) frames, and its gain (N,)."""
    way = rng.random()
    recorded = cast.recorded[part][int(rng.integers(len(cast.recorded[part])))]
    if way < shares.recorded:
        return say(text, recorded, None, frame_count)
    way -= shares.recorded
    spoken, gain = speak(text, speaker, part, frame_count)
    share = np.full(frame_count, rng.uniform(0.25, 0.75))
    if way < shares.blend_with_recorded:
        return blended(spoken, say(rng, recorded, None, frame_count)[0], share), gain
    if way < shares.blend_with_recorded + shares.blend_of_speakers:
        other = cast.speakers[int(rng.integers(len(cast.speakers)))]
        return blended(spoken, speak(rng, other, part, frame_count)[0], share), gain
    return spoken, gain


def say(
    rng: np.random.Generator, singer: Singer, time: np.ndarray | None, frame_count: int
) -> tuple[Singer, np.ndarray]:
    """A text from random places of a voice; `time` (L,) tells when its frames come, None: as recorded."""
    source_count = len(singer.is_voiced)
    positions, gain = draw_text(rng, frame_count, source_count if time is None else int(time[-1]))
    if time is not None:
        positions = np.interp(positions, time, np.arange(source_count))
    return along(singer, positions), gain


def speak(rng: np.random.Generator, speaker: SpeechVoice, part: int, frame_count: int) -> tuple[Singer, np.ndarray]:
    """A speaker who sings: vowels held, the tract made fit for the part."""
    said, gain = say(rng, speaker.singer, sung_time(speaker, rng.uniform(2.0, 7.0)), frame_count)
    tract = SHORT_TRACT if speaker.speaking_hz > SHORT_TRACT_HZ else LONG_TRACT
    return scaled(said, PART_TRACTS[part] / tract * float(np.exp(np.clip(rng.normal(0, 0.06), -0.15, 0.15)))), gain


def sing_part(
    rng: np.random.Generator, timbre: Singer, gain: np.ndarray, midi: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """One part, sung by `count` singers who differ a little in everything. Returns samples (T,) and F0 (L,) in Hz."""
    timbre = evened(timbre, midi, rng.uniform(0.5, 0.95))
    timbre = breathier(tilted(timbre, rng.normal(0, 2.0)), float(np.clip(rng.normal(0.05, 0.15), 0, 0.5)))
    style = STYLES[int(rng.integers(len(STYLES)))]
    voices, tracks = [], []
    for number in range(count):
        one, late = timbre, 0
        if count > 1:
            style = replace(style, tuning_cents=rng.normal(0, 8))
            one = tilted(scaled(timbre, float(np.exp(rng.normal(0, 0.05)))), rng.normal(0, 1.5))
            late = max(0, round(rng.normal(0.02, 0.02) * FRAME_RATE)) if number else 0
        own_midi = np.concatenate([np.full(late, midi[0]), midi[: len(midi) - late]])
        samples, f0_hz = sing(rng, one, own_midi, np.arange(len(midi)), gain, style)
        voices.append(samples * 10 ** (rng.normal(0, 2.0) / 20) if count > 1 else samples)
        tracks.append(f0_hz)
    total = np.sum(voices, axis=0)
    sounding = np.abs(total) > 1e-4 * max(float(np.abs(total).max()), 1e-9)
    level = np.sqrt(np.mean(total[sounding] ** 2)) if sounding.any() else 1.0
    return (total * (LEVEL * 10 ** (rng.normal(0, 2.5) / 20) / level)).astype(np.float32), mean_pitch(np.stack(tracks))


def mean_pitch(f0_hz: np.ndarray) -> np.ndarray:
    """The pitch of a section: the geometric mean of those who sound, where at least half of them do. (M, L) -> (L,)."""
    is_voiced = f0_hz > 0
    count = is_voiced.sum(axis=0)
    logs = np.where(is_voiced, np.log(np.maximum(f0_hz, 1.0)), 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(2 * count >= len(f0_hz), np.exp(logs), 0.0) * (count > 0)
