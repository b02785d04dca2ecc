"""From a score to what a singer's throat does: F0 contours of four voices for a stretch of a chorale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve

from divisi.training.f0_labels import LABEL_HOP_SECONDS

FRAME_RATE = 1 / LABEL_HOP_SECONDS
REST = -1
LEGAL_RANGES_HZ = ((150.0, 1150.0), (120.0, 850.0), (75.0, 620.0), (62.0, 440.0))


@dataclass(frozen=True)
class Melody:
    """Notes of four voices on the label grid: fractional MIDI (4, L), `REST` where silent, and the length of a beat."""

    midi: np.ndarray
    quarter_seconds: float


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


def sing_notes(rng: np.random.Generator, midi: np.ndarray, deviation_cents: np.ndarray) -> np.ndarray:
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
    cents = rng.normal(0, 12, note_index[-1] + 1)[note_index]

    width = int(rng.uniform(0.04, 0.2) * FRAME_RATE) | 1
    glide = np.hanning(width + 2)[1:-1]
    pitch = fftconvolve(np.pad(100 * held + cents, width // 2, mode="edge"), glide / glide.sum(), mode="valid")

    pitch += deviation_cents * rng.uniform(0.3, 1.3)
    if rng.random() < 0.5:
        rate_hz = rng.uniform(4.8, 6.6) * (1 + 0.05 * slow_noise(rng, frame_count, 1.0))
        depth = rng.uniform(5, 50) * np.clip(1 + 0.5 * slow_noise(rng, frame_count, 0.6), 0, 2)
        pitch += depth * np.sin(2 * np.pi * np.cumsum(rate_hz) / FRAME_RATE + rng.uniform(0, 6.28))
    pitch += 8 * slow_noise(rng, frame_count, 2.0) + 2 * slow_noise(rng, frame_count, 0.03)
    return np.where(resting, 0.0, hertz(pitch / 100))


def slow_noise(rng: np.random.Generator, frame_count: int, seconds: float) -> np.ndarray:
    """Smooth noise of about unit deviation that forgets within `seconds`. Shape: (frame_count,)."""
    size = max(int(seconds * FRAME_RATE), 2)
    noise = rng.standard_normal(frame_count + 4 * size)
    smooth = uniform_filter1d(uniform_filter1d(noise, size), size)[2 * size : 2 * size + frame_count]
    return smooth / np.sqrt(2 / (3 * size))
