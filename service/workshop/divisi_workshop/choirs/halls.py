"""Rooms for choirs, from small to cathedral, made in two ways, so that a network learns the flaws of neither.

`noise_hall` is a decaying noise with a few echoes, made on the spot. Image sources (`shoebox_rooms`) are slow to
compute and therefore kept in a folder, one file a room.
"""

from pathlib import Path

import numpy as np

from divisi_workshop.choirs.takes import SAMPLE_RATE

DECAY_SECONDS = (0.2, 2.5)
DISTANCES = (0.7, 4.0)
"""Of the singers from the microphone, in critical distances: where direct sound and reverberation are equally loud."""
LONGEST_SECONDS = 2.2


def noise_hall(rng: np.random.Generator, count: int) -> np.ndarray:
    """Responses of one room to singers at about one distance; direct sound at tap 0. Shape: (count, taps), energy 1."""
    decay_seconds = between(rng, DECAY_SECONDS)
    distance = between(rng, DISTANCES)
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
