"""Rooms and microphones made of noise: what keeps a network from learning one chapel by heart."""

import numpy as np
from scipy import fft

from divisi.training.takes import SAMPLE_RATE

TAIL_SECONDS = 0.9


def random_room(rng: np.random.Generator, voice_count: int) -> np.ndarray:
    """Impulse responses of one room for singers at different places.

    A direct sound, a few early reflections and an exponential tail whose treble dies first. The decay time and the
    loudness of the tail are common, the noise is not. Shape: (voice_count, taps), direct sound at tap 0.
    """
    tap_count = int(TAIL_SECONDS * SAMPLE_RATE)
    times = np.arange(tap_count) / SAMPLE_RATE
    decay_seconds = rng.uniform(0.15, 0.9)
    treble_share = rng.uniform(0.3, 0.9)
    tail_db = rng.uniform(-14, 2)
    responses = np.zeros((voice_count, tap_count), dtype=np.float32)
    for voice in range(voice_count):
        noise = rng.standard_normal(tap_count).astype(np.float32)
        low = np.convolve(noise, np.full(12, 1 / 12, dtype=np.float32), mode="same")
        tail = low * np.exp(-6.91 * times / decay_seconds)
        tail += (noise - low) * np.exp(-6.91 * times / (decay_seconds * treble_share))
        tail[times < rng.uniform(0.003, 0.02)] = 0
        tail *= np.sqrt(10 ** ((tail_db + rng.normal(0, 1.5)) / 10) / max(float(np.sum(tail**2)), 1e-12))
        responses[voice] = tail
        for _ in range(rng.integers(2, 7)):
            responses[voice, rng.integers(16, 800)] += rng.normal(0, 0.25)
        responses[voice, 0] = 1.0
    return responses


def random_equaliser(rng: np.random.Generator, frequencies_hz: np.ndarray, deviation_db: float = 2.5) -> np.ndarray:
    """Smooth gain of a microphone and a place: 7 points spaced over octaves. Shape: (F,) -> (F,), linear gain."""
    points_hz = 60.0 * 2.0 ** np.arange(7)
    gains_db = rng.normal(0, deviation_db, len(points_hz))
    return 10 ** (np.interp(np.log2(np.maximum(frequencies_hz, 30.0)), np.log2(points_hz), gains_db) / 20)


def place_in_room(rng: np.random.Generator, sources: np.ndarray, with_room: bool) -> np.ndarray:
    """Equalise every source, and let it sound in a room if asked. Shape: (S, T) -> (S, T)."""
    sample_count = sources.shape[1]
    tail = int(TAIL_SECONDS * SAMPLE_RATE) if with_room else 2048
    size = fft.next_fast_len(sample_count + tail, real=True)
    spectra = fft.rfft(sources.astype(np.float32), size)
    frequencies_hz = np.arange(spectra.shape[1]) * (SAMPLE_RATE / size)
    gains = np.stack([random_equaliser(rng, frequencies_hz) for _ in sources])
    spectra *= gains.astype(np.float32)
    if with_room:
        spectra *= fft.rfft(random_room(rng, len(sources)), size)
    return fft.irfft(spectra, size)[:, :sample_count].astype(np.float32)
