"""From a score to what a singer's throat does: F0 contours of four voices for a stretch of a chorale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS

FRAME_RATE = 1 / LABEL_HOP_SECONDS
REST = -1
LEGAL_RANGES_HZ = ((150.0, 1150.0), (120.0, 850.0), (75.0, 620.0), (62.0, 440.0))


@dataclass(frozen=True)
class Melody:
    """Notes of four voices on the label grid: fractional MIDI (4, L), `REST` where silent, and the length of a beat."""

    midi: np.ndarray
    quarter_seconds: float


@dataclass(frozen=True)
class Style:
    """How a singer treats written notes; pairs are the range that a performance draws from.

    Attributes:
        note_error_cents: deviation of intonation from note to note.
        glide_seconds: how long the way from note to note takes.
        own_share: how much of the singer's own wobble is kept.
        vibrato_chance: how often there is a vibrato besides the singer's own.
        vibrato_hz, vibrato_cents: its rate, and its swing to each side.
        drift_cents, jitter_cents: slow and fast deviation.
        tuning_cents: constant deviation from the choir.
    """

    note_error_cents: float = 12.0
    glide_seconds: tuple[float, float] = (0.04, 0.2)
    own_share: tuple[float, float] = (0.3, 1.3)
    vibrato_chance: float = 0.5
    vibrato_hz: tuple[float, float] = (4.8, 6.6)
    vibrato_cents: tuple[float, float] = (5.0, 50.0)
    drift_cents: float = 8.0
    jitter_cents: float = 2.0
    tuning_cents: float = 0.0


CHAMBER = Style()
STYLES = (
    CHAMBER,
    Style(vibrato_chance=0.0, note_error_cents=6, drift_cents=4, jitter_cents=3),  # early music: straight and pure
    Style(vibrato_chance=1.0, vibrato_hz=(4.3, 6.2), vibrato_cents=(50, 130), glide_seconds=(0.06, 0.22)),  # opera
    Style(vibrato_chance=1.0, vibrato_hz=(5.5, 7.5), vibrato_cents=(10, 40), jitter_cents=4),  # quick and narrow
    Style(note_error_cents=28, drift_cents=18, jitter_cents=6, vibrato_chance=0.25),  # untrained
    Style(glide_seconds=(0.15, 0.35), note_error_cents=18, vibrato_cents=(10, 70)),  # slides into notes
    Style(glide_seconds=(0.02, 0.05), note_error_cents=8, vibrato_chance=0.3),  # nimble
)


def draw_melody(rng: np.random.Generator, chorales: Sequence[np.ndarray], seconds: float) -> Melody:
    """A stretch of a random chorale at a random tempo, key and tuning; chorales are (sixteenths, 4) MIDI pitches."""
    while True:
        chorale = chorales[int(rng.integers(len(chorales)))]
        quarter_seconds = 60 / rng.uniform(45, 120)
        first = rng.integers(0, max(1, len(chorale) // 2)) // 4 * 4
        transposition = rng.uniform(-4, 4) + rng.uniform(-0.5, 0.5)
        steps = np.arange(int(seconds * FRAME_RATE)) * LABEL_HOP_SECONDS / (quarter_seconds / 4)
        index = first + steps.astype(int)
        notes = chorale[np.minimum(index, len(chorale) - 1)].T.astype(np.float64)
        notes[:, index >= len(chorale)] = REST
        midi = np.where(notes == REST, REST, notes + transposition)
        if fits(midi) and np.mean(midi != REST) > 0.5:
            return Melody(midi, quarter_seconds)


def fits(midi: np.ndarray) -> bool:
    """Can human voices sing this?"""
    return all(
        not (track != REST).any()
        or (hertz(track[track != REST]).min() > low and hertz(track[track != REST]).max() < high)
        for track, (low, high) in zip(midi, LEGAL_RANGES_HZ, strict=True)
    )


def hertz(midi: np.ndarray) -> np.ndarray:
    return 440.0 * 2 ** ((midi - 69) / 12)


def sing_notes(
    rng: np.random.Generator, midi: np.ndarray, deviation_cents: np.ndarray, style: Style = CHAMBER
) -> np.ndarray:
    """The F0 a singer gives to written notes: intonation, portamento, vibrato, drift, jitter and habits of their own.

    Shape: `midi` (L,) with `REST`, `deviation_cents` (L,) of the singer's own voice -> (L,) Hz, 0 at rests.
    """
    frame_count = len(midi)
    resting = midi == REST
    held = np.where(resting, np.nan, midi)
    known = np.flatnonzero(~resting)
    if len(known) == 0:
        return np.zeros(frame_count)
    held = held[known[np.clip(np.searchsorted(known, np.arange(frame_count), side="right") - 1, 0, None)]]
    note_index = np.cumsum(np.concatenate([[0], np.diff(held) != 0]))
    cents = rng.normal(0, style.note_error_cents, note_index[-1] + 1)[note_index] + style.tuning_cents

    width = int(rng.uniform(*style.glide_seconds) * FRAME_RATE) | 1
    glide = np.hanning(width + 2)[1:-1]
    pitch = fftconvolve(np.pad(100 * held + cents, width // 2, mode="edge"), glide / glide.sum(), mode="valid")

    pitch += deviation_cents * rng.uniform(*style.own_share)
    if rng.random() < style.vibrato_chance:
        rate_hz = rng.uniform(*style.vibrato_hz) * (1 + 0.05 * slow_noise(rng, frame_count, 1.0))
        depth = rng.uniform(*style.vibrato_cents) * np.clip(1 + 0.5 * slow_noise(rng, frame_count, 0.6), 0, 2)
        pitch += depth * np.sin(2 * np.pi * np.cumsum(rate_hz) / FRAME_RATE + rng.uniform(0, 6.28))
    slow, fast = slow_noise(rng, frame_count, 2.0), slow_noise(rng, frame_count, 0.03)
    pitch += style.drift_cents * slow + style.jitter_cents * fast
    return np.where(resting, 0.0, hertz(pitch / 100))


def slow_noise(rng: np.random.Generator, frame_count: int, seconds: float) -> np.ndarray:
    """Smooth noise of about unit deviation that forgets within `seconds`. Shape: (frame_count,)."""
    size = max(int(seconds * FRAME_RATE), 2)
    noise = rng.standard_normal(frame_count + 4 * size)
    smooth = uniform_filter1d(uniform_filter1d(noise, size), size)[2 * size : 2 * size + frame_count]
    return smooth / np.sqrt(2 / (3 * size))
