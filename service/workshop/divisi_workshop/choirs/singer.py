"""How a singer sings a score: traits drawn from a seed, and what they make of pitch, loudness and vowels over time.

Everything here is slow and lives on a grid of 200 frames a second, which does not depend on any sample rate;
`formant_voices` turns it into sound. `N` is the number of those frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 200
Array = NDArray[np.floating[Any]]

# Hz, first five resonances: textbook averages of adult speakers (Peterson and Barney, 1952; Fant, 1960) for a tract of
# 17.5 cm, rounder and closer to each other as sung vowels are. "@" is the neutral one, "m" the closed mouth of nasals.
VOWELS: dict[str, tuple[float, ...]] = {
    "a": (690, 1120, 2550, 3250, 4200),
    "e": (450, 1800, 2550, 3300, 4200),
    "i": (320, 2100, 2800, 3400, 4200),
    "o": (500, 900, 2500, 3200, 4200),
    "u": (370, 820, 2400, 3200, 4200),
    "@": (500, 1400, 2450, 3300, 4200),
    "m": (260, 1050, 2200, 3200, 4200),
}
NUM_FORMANTS = 5
BANDWIDTHS_HZ = (65.0, 85.0, 115.0, 160.0, 220.0)
# A tube of 17.5 cm, closed at one end, resonates every 1000 Hz; above the fifth, vowels no longer differ.
TUBE_SPACING_HZ = 1_000.0
HIGH_BANDWIDTH_HZ = 320.0


@dataclass(frozen=True)
class Consonant:
    """A consonant before a vowel.

    Attributes:
        seconds: its length; the vowel begins on the beat, so it lies before.
        voice_db: level of the voice in it against the vowel.
        noise_db: level of the noise against the voice; None: no noise.
        low_hz, high_hz: band of the noise.
        vowel: resonances meanwhile, a key of VOWELS; None: those of the vowel to come.
    """

    seconds: float
    voice_db: float
    noise_db: float | None = None
    low_hz: float = 0.0
    high_hz: float = 0.0
    vowel: str | None = None


CONSONANTS: dict[str, Consonant] = {
    "": Consonant(0.03, -3),
    "h": Consonant(0.07, -35, -20, 500, 3_000),
    "f": Consonant(0.08, -50, -20, 2_500, 9_000, "u"),
    "v": Consonant(0.06, -12, -32, 2_500, 7_000, "u"),
    "s": Consonant(0.09, -50, -18, 4_500, 9_500, "i"),
    "S": Consonant(0.09, -50, -18, 1_800, 6_000, "u"),
    "t": Consonant(0.06, -50, -20, 2_500, 7_000, "i"),
    "b": Consonant(0.05, -24, -34, 300, 1_500, "u"),
    "d": Consonant(0.05, -22, -30, 1_500, 5_000, "i"),
    "l": Consonant(0.06, -7, vowel="m"),
    "m": Consonant(0.07, -8, vowel="m"),
    "n": Consonant(0.06, -8, vowel="m"),
}


@dataclass(frozen=True)
class Note:
    """A pitch, fractional MIDI (69 = 440 Hz), None = rest; its length; the consonant that leads to it, a key of
    CONSONANTS; and the keys of VOWELS passed through meanwhile, one character each.
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


def transfer(formants_hz: Array, frequencies_hz: Array, tract_scale: float) -> NDArray[np.complex128]:
    """Complex gain of the tract at each frequency of each frame: the all-pole product of acoustic theory (Fant, 1960).

    Shape: formants `(N, 5)`, frequencies `(N, K)` or `(1, K)` in Hz -> `(N, K)`; gain 1 at 0 Hz.
    """
    gain = np.ones(np.broadcast_shapes(frequencies_hz.shape, (len(formants_hz), 1)), np.complex128)
    for number in range(NUM_FORMANTS):
        bandwidth_hz = BANDWIDTHS_HZ[number] * tract_scale
        gain *= _resonance(frequencies_hz, formants_hz[:, number : number + 1], bandwidth_hz)
    # The resonances of the tube above the fifth: without them the treble would die at 12 dB an octave for each formant.
    highest_hz = float(frequencies_hz.max()) + TUBE_SPACING_HZ
    tube_hz = VOWELS["@"][-1] + TUBE_SPACING_HZ
    while tube_hz * tract_scale < highest_hz:
        gain *= _resonance(frequencies_hz, tube_hz * tract_scale, HIGH_BANDWIDTH_HZ * tract_scale)
        tube_hz += TUBE_SPACING_HZ
    return gain


def _resonance(frequencies_hz: Array, centre_hz: Array | float, bandwidth_hz: float) -> NDArray[np.complex128]:
    """One pair of poles, gain 1 at 0 Hz."""
    poles = centre_hz**2 + (bandwidth_hz / 2) ** 2
    return np.asarray(poles / (poles - frequencies_hz**2 + 1j * frequencies_hz * bandwidth_hz), np.complex128)
