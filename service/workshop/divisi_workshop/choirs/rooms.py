"""Rooms made of noise, and microphones: what keeps a network from learning one chapel by heart.

`place_in_room` is what the earlier stages learn from, rooms up to a small church. `noise_hall` goes up to a cathedral;
the refiner learns from it and from image sources (`shoebox_rooms`) in equal parts, and so the flaws of neither. Image
sources are slow to compute and therefore kept in a folder, one file a room, which `load_halls` reads.
"""

from pathlib import Path

import numpy as np
from scipy import fft

from divisi_workshop.choirs.takes import SAMPLE_RATE

TAIL_SECONDS = 0.9
LONGEST_DECAY_SECONDS = 1.4
"""By which a room has died away by 60 dB; of the longest, what the tail cuts off is 38 dB down."""

HALL_DECAY_SECONDS = (0.2, 2.5)
HALL_DISTANCES = (0.7, 4.0)
"""Of the singers from the microphone, in critical distances: where direct sound and reverberation are equally loud."""
LONGEST_SECONDS = 2.2
"""Of a response that is kept."""

MICROPHONE_SHARE = 0.4
COMPRESSED_SHARE = 0.25


def random_room(rng: np.random.Generator, voice_count: int) -> np.ndarray:
    """Impulse responses of one room for singers at different places.

    A direct sound, a few early reflections and an exponential tail whose treble dies first. The decay time and the
    loudness of the tail are the room's; how far away singers stand sets the tail against their direct sound, and how
    early and loud the first reflections come. Shape: (voice_count, taps), direct sound at tap 0.
    """
    tap_count = int(TAIL_SECONDS * SAMPLE_RATE)
    times = np.arange(tap_count) / SAMPLE_RATE
    decay_seconds = rng.uniform(0.15, LONGEST_DECAY_SECONDS)
    treble_share = rng.uniform(0.3, 0.9)
    # The tail is everywhere the same, the direct sound falls by 6 dB with each doubling of the distance.
    nearest_db = rng.uniform(-18, 2)
    distances_db = np.abs(rng.normal(0, 2.5, voice_count))
    responses = np.zeros((voice_count, tap_count), dtype=np.float32)
    for voice in range(voice_count):
        noise = rng.standard_normal(tap_count).astype(np.float32)
        low = np.convolve(noise, np.full(12, 1 / 12, dtype=np.float32), mode="same")
        tail = low * np.exp(-6.91 * times / decay_seconds)
        tail += (noise - low) * np.exp(-6.91 * times / (decay_seconds * treble_share))
        tail[times < rng.uniform(0.003, 0.02)] = 0
        tail_db = nearest_db + distances_db[voice]
        tail *= np.sqrt(10 ** (tail_db / 10) / max(float(np.sum(tail**2)), 1e-12))
        responses[voice] = tail
        for _ in range(rng.integers(2, 7)):
            responses[voice, rng.integers(16, 800)] += rng.normal(0, 0.25) * 10 ** (distances_db[voice] / 40)
        responses[voice, 0] = 1.0
    return responses


def random_equaliser(rng: np.random.Generator, frequencies_hz: np.ndarray, deviation_db: float = 2.5) -> np.ndarray:
    """Smooth gain of a microphone and a place: 7 points spaced over octaves. Shape: (F,) -> (F,), linear gain."""
    points_hz = 60.0 * 2.0 ** np.arange(7)
    gains_db = rng.normal(0, deviation_db, len(points_hz))
    return 10 ** (np.interp(np.log2(np.maximum(frequencies_hz, 30.0)), np.log2(points_hz), gains_db) / 20)


def random_microphone(rng: np.random.Generator, frequencies_hz: np.ndarray) -> np.ndarray:
    """What the one microphone for all takes away: bass below a corner, treble above another.
    Shape: (F,) -> (F,), linear gain.
    """
    gain = np.ones(len(frequencies_hz), dtype=np.float32)
    frequencies_hz = np.maximum(frequencies_hz, 1.0).astype(np.float32)
    if rng.random() < MICROPHONE_SHARE:
        gain /= np.sqrt(1 + (np.float32(rng.uniform(40, 160)) / frequencies_hz) ** (2 * int(rng.integers(1, 3))))
    if rng.random() < MICROPHONE_SHARE:
        gain /= np.sqrt(1 + (frequencies_hz / np.float32(rng.uniform(2_500, 7_500))) ** (2 * int(rng.integers(1, 4))))
    return gain


def compressor_gain(rng: np.random.Generator, mixture: np.ndarray) -> np.ndarray:
    """A recording whose loud moments were turned down: the gain over time, slow enough to add no tones of its own.

    Meant for every source alike, so that they still add up to the mixture. Saturation proper is left out: it would put
    the pitches of all voices into each. Shape: (T,) -> (T,), about 1.
    """
    block = SAMPLE_RATE // 50
    padded = np.pad(mixture, (0, -len(mixture) % block))
    levels = np.sqrt(np.mean(padded.reshape(-1, block) ** 2, axis=1))
    width = int(rng.integers(5, 20))
    smooth = np.convolve(np.pad(levels, width, mode="edge"), np.hanning(width + 2)[1:-1], mode="same")[width:-width]
    relative = np.maximum(smooth / max(float(smooth.mean()), 1e-9), 0.1)
    gain = relative ** -rng.uniform(0.1, 0.5)
    return np.interp(np.arange(len(mixture)) / block - 0.5, np.arange(len(gain)), gain).astype(np.float32)


def place_in_room(rng: np.random.Generator, sources: np.ndarray, with_room: bool) -> np.ndarray:
    """Equalise every source, let it sound in a room if asked, and before one microphone; at times with a compressor.

    Shape: (S, T) -> (S, T); their sum is the mixture.
    """
    sample_count = sources.shape[1]
    tail = int(TAIL_SECONDS * SAMPLE_RATE) if with_room else 2048
    size = fft.next_fast_len(sample_count + tail, real=True)
    spectra = fft.rfft(sources.astype(np.float32), size)
    frequencies_hz = np.arange(spectra.shape[1]) * (SAMPLE_RATE / size)
    gains = np.stack([random_equaliser(rng, frequencies_hz) for _ in sources])
    spectra *= gains.astype(np.float32) * random_microphone(rng, frequencies_hz)
    if with_room:
        spectra *= fft.rfft(random_room(rng, len(sources)), size)
    placed = fft.irfft(spectra, size)[:, :sample_count].astype(np.float32)
    if rng.random() < COMPRESSED_SHARE:
        placed *= compressor_gain(rng, placed.sum(axis=0))
    return placed


def noise_hall(rng: np.random.Generator, count: int) -> np.ndarray:
    """Responses of one room to singers at about one distance; direct sound at tap 0. Shape: (count, taps), energy 1."""
    decay_seconds = between(rng, HALL_DECAY_SECONDS)
    distance = between(rng, HALL_DISTANCES)
    taps = int(min(1.1 * decay_seconds, LONGEST_SECONDS) * SAMPLE_RATE)
    times = np.arange(taps) / SAMPLE_RATE
    treble = rng.uniform(0.35, 0.9)
    responses = np.zeros((count, taps), np.float32)
    for response in responses:
        noise = rng.standard_normal(taps)
        low = np.convolve(noise, np.full(12, 1 / 12), "same")
        tail = 2 * low * np.exp(-6.91 * times / decay_seconds)
        tail += (noise - low) * np.exp(-6.91 * times / (decay_seconds * treble))
        tail[times < rng.uniform(0.002, 0.02)] = 0
        own = distance * np.exp(rng.normal(0, 0.15))
        tail *= own / np.sqrt(np.sum(tail**2))
        for _ in range(rng.integers(3, 9)):
            tail[rng.integers(16, min(1200, taps))] += rng.normal(0, 0.3) * min(own, 1.5)
        tail[0] += 1
        response[:] = tail / np.sqrt(1 + own**2)
    return responses


def load_halls(folder: Path) -> list[np.ndarray]:
    """All rooms of a folder, (P, taps) each; none where there is no folder."""
    return [np.load(path).astype(np.float32) for path in sorted(folder.glob("hall_*.npy"))]


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))
