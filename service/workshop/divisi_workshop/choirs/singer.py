"""How a singer sings a score: traits drawn from a seed, and what they make of pitch, loudness and vowels over time.

Everything here is slow and lives on a grid of 200 frames a second, which does not depend on any sample rate;
`formant_voices` turns it into sound. `N` is the number of those frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from divisi_workshop.choirs.vocal_tract import CONSONANTS, NUM_FORMANTS, VOWELS, Array

FRAME_RATE = 200


@dataclass(frozen=True)
class Note:
    """Attributes: `midi`: pitch, fractional (69 = 440 Hz), None = rest; `seconds`; `consonant`: a key of CONSONANTS
    that
    leads to the note; `vowels`: keys of VOWELS passed through during the note, one character each.
    """

    midi: float | None
    seconds: float
    consonant: str = ""
    vowels: str = "a"


@dataclass(frozen=True)
class SingerTraits:
    """What makes one singer unlike another.

    Attributes:
        tract_scale: formant frequencies against those of VOWELS; above 1: a shorter tract.
        ring: how far the third to fifth formants close in on each other, 0 to 1 (the singer's formant).
        corner_hz: where the glottal tone begins to fall by 12 instead of 6 dB an octave; low: a soft voice.
        breath_db: breath against the tone.
        vibrato_hz, vibrato_cents, vibrato_delay_seconds: rate, swing to each side, and when it sets in after the start.
        glide_seconds: how long the way from note to note takes.
        tuning_cents, drift_cents, jitter_cents: constant, slow and fast deviation from the written pitch.
        shimmer_db: fast changes of loudness.
        lateness_seconds: how late this singer is.
        loudness_db: against other singers.
    """

    tract_scale: float
    ring: float
    corner_hz: float
    breath_db: float
    vibrato_hz: float
    vibrato_cents: float
    vibrato_delay_seconds: float
    glide_seconds: float
    tuning_cents: float
    drift_cents: float
    jitter_cents: float
    shimmer_db: float
    lateness_seconds: float
    loudness_db: float


# Of each voice: usual tract scale, usual ring.
_VOICES = {"soprano": (1.18, 0.1), "alto": (1.12, 0.15), "tenor": (1.02, 0.4), "bass": (0.95, 0.45)}


def draw_singer(voice: str, seed: int) -> SingerTraits:
    """A singer of that voice (`soprano`, `alto`, `tenor`, `bass`); the same for the same seed."""
    rng = np.random.default_rng([seed, list(_VOICES).index(voice)])
    tract_scale, ring = _VOICES[voice]
    return SingerTraits(
        tract_scale=tract_scale * rng.uniform(0.92, 1.08),
        ring=float(np.clip(ring + rng.normal(0, 0.15), 0, 0.8)),
        corner_hz=rng.uniform(2_000, 6_000),
        breath_db=rng.uniform(-36, -26),
        vibrato_hz=rng.uniform(4.8, 6.4),
        vibrato_cents=rng.uniform(8, 60),
        vibrato_delay_seconds=rng.uniform(0.1, 0.5),
        glide_seconds=rng.uniform(0.05, 0.13),
        tuning_cents=rng.normal(0, 6),
        drift_cents=rng.uniform(3, 10),
        jitter_cents=rng.uniform(2, 6),
        shimmer_db=rng.uniform(0.2, 0.8),
        lateness_seconds=max(0.0, rng.normal(0.015, 0.015)),
        loudness_db=rng.normal(0, 2),
    )


class Score:
    """Where notes begin and end, in frames. `starts` and `ends` are `(M,)` seconds, `notes` the sounding ones."""

    def __init__(self, notes: Sequence[Note], lateness_seconds: float) -> None:
        ends = np.cumsum([note.seconds for note in notes])
        starts = ends - [note.seconds for note in notes]
        sounding = [number for number, note in enumerate(notes) if note.midi is not None]
        if not sounding:
            raise ValueError("a melody needs at least one note")
        self.num_frames = int(np.ceil(ends[-1] * FRAME_RATE)) + 2
        self.seconds = np.arange(self.num_frames) / FRAME_RATE
        self.notes = [notes[number] for number in sounding]
        self.midi = np.array([note.midi for note in self.notes], np.float64)
        self.starts = starts[sounding] + lateness_seconds
        self.ends = ends[sounding]
        self.follows_rest = [number == 0 or notes[number - 1].midi is None for number in sounding]
        self.precedes_rest = [number + 1 == len(notes) or notes[number + 1].midi is None for number in sounding]


def _slow_noise(rng: np.random.Generator, num_frames: int, highest_hz: float) -> Array:
    """Noise of deviation 1 without anything above a frequency; `(N,)`."""
    length = max(num_frames, 20 * FRAME_RATE)  # long enough for the slowest to turn, whatever the song
    frequencies_hz = np.fft.fftfreq(length, 1 / FRAME_RATE)
    response = np.exp(-((frequencies_hz / highest_hz) ** 2))
    spectrum = np.fft.fft(rng.standard_normal(length)) * response
    return np.fft.ifft(spectrum).real[:num_frames] / np.sqrt(np.mean(response**2))


def _step(seconds: Array, centre: float, width: float) -> Array:
    """From 0 to 1 around a moment, along half a cosine."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip((seconds - centre) / width + 0.5, 0, 1))


def _smooth(track: Array, seconds: float) -> Array:
    """A track without jumps: averaged over a window of that length. `(N,)` -> `(N,)`."""
    half = round(seconds * FRAME_RATE / 2)
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(track, half, mode="edge"), window / window.sum(), mode="valid")


def pitch_track(score: Score, singer: SingerTraits, rng: np.random.Generator) -> Array:
    """The pitch in MIDI; rests glide from the last note to the next. `(N,)`."""
    pitch = np.full(score.num_frames, score.midi[0])
    vibrato_depth = np.zeros(score.num_frames)
    for number, start in enumerate(score.starts):
        if number:
            # The glide ends just after the beat: the new pitch is reached as the vowel opens.
            interval = score.midi[number] - score.midi[number - 1]
            pitch += interval * _step(score.seconds, start, singer.glide_seconds)
        inside = (score.seconds >= start) & (score.seconds < score.ends[number])
        onset = (score.seconds - start - singer.vibrato_delay_seconds) / 0.35
        vibrato_depth[inside] = np.clip(onset[inside], 0, 1)
    rate_hz = singer.vibrato_hz * (1 + 0.04 * _slow_noise(rng, score.num_frames, 1.0))
    swing = 1 + 0.15 * _slow_noise(rng, score.num_frames, 1.5)
    vibrato = np.sin(2 * np.pi * np.cumsum(rate_hz) / FRAME_RATE + rng.uniform(0, 2 * np.pi))
    depth = _smooth(vibrato_depth, 0.1)  # vibrato neither starts nor ends at once
    cents = (
        singer.tuning_cents
        + singer.vibrato_cents * swing * depth * vibrato
        + singer.drift_cents * _slow_noise(rng, score.num_frames, 0.8)
        + singer.jitter_cents * _slow_noise(rng, score.num_frames, 25.0)
    )
    return pitch + cents / 100


def loudness_track(score: Score, singer: SingerTraits, rng: np.random.Generator) -> Array:
    """Level of the tone against a full vowel: phrases swell, consonants dip, rests are silent. `(N,)`."""
    level = np.full(score.num_frames, -100.0)
    for number, (note, start, end) in enumerate(zip(score.notes, score.starts, score.ends, strict=True)):
        consonant = CONSONANTS[note.consonant]
        begin = start - consonant.seconds
        attack = 0.09 if score.follows_rest[number] else 0.04
        release = 0.16 if score.precedes_rest[number] else 0.0
        inside = (score.seconds >= begin) & (score.seconds < end)
        seconds = score.seconds[inside]
        opening = _step(seconds, start, attack)
        swell_db = 2.5 * np.sin(np.pi * np.clip((seconds - start) / (end - start), 0, 1)) - 2.5
        floor_db = -60.0 if score.follows_rest[number] and consonant.voice_db < -30 else consonant.voice_db - 2.5
        value = floor_db + (swell_db - floor_db) * opening
        if score.follows_rest[number]:
            value += -50 * (1 - _step(seconds, begin + 0.02, 0.04))
        if release:
            value += -50 * _step(seconds, end - release / 2, release)
        level[inside] = value
    level += singer.shimmer_db * _slow_noise(rng, score.num_frames, 30.0)
    return _smooth(level, 0.035)  # mouths have mass


def formant_track(score: Score, singer: SingerTraits, f0_hz: Array) -> Array:
    """Resonances in Hz, `(N, 5)`: vowels and the consonants between them, each approached along a curve."""
    vowel_seconds: list[float] = []
    vowels: list[str] = []
    for note, start, end in zip(score.notes, score.starts, score.ends, strict=True):
        consonant = CONSONANTS[note.consonant]
        if consonant.vowel is not None:
            vowel_seconds.append(start - consonant.seconds)
            vowels.append(consonant.vowel)
        for number, vowel in enumerate(note.vowels):
            # A diphthong stays on its first vowel for most of the note.
            share = 0.0 if number == 0 else 0.75 + 0.25 * (number - 1) / len(note.vowels)
            vowel_seconds.append(start + share * (end - start))
            vowels.append(vowel)
    formants = np.tile(np.array(VOWELS[vowels[0]], np.float64), (score.num_frames, 1))
    for before, after, moment in zip(vowels, vowels[1:], vowel_seconds[1:], strict=False):
        change = np.array(VOWELS[after]) - np.array(VOWELS[before])
        formants += change * _step(score.seconds, moment, 0.07)[:, None]
    cluster_hz = formants[:, 2:NUM_FORMANTS].mean(axis=1, keepdims=True)
    formants[:, 2:] += singer.ring * 0.6 * (0.9 * cluster_hz - formants[:, 2:])
    formants *= singer.tract_scale
    # High voices open the mouth until the first resonance meets the pitch (Sundberg, 1987).
    formants[:, 0] = np.maximum(formants[:, 0], 1.02 * f0_hz)
    formants[:, 1] = np.maximum(formants[:, 1], formants[:, 0] + 200)
    return formants
