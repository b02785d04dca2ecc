"""Simulated recordings of the quintet: five players in a room, a spot microphone at each and three for the room.

The rooms are pyroomacoustics' image-source model, the players are `instruments`. What each
instrument alone brings to each microphone is kept: these source images are what a multichannel model is scored against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyroomacoustics
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from divisi_workshop.evaluation.instruments import QUINTET, play_quintet

Array = NDArray[np.float64]
Images = NDArray[np.float32]

NUM_SPOTS = len(QUINTET)
NUM_ROOM_MICROPHONES = 3
# The published set-up's order: five spots, then room left, centre, right.
NUM_MICROPHONES = NUM_SPOTS + NUM_ROOM_MICROPHONES
_NOISE_DB = -60.0
_PEAK = 0.8


@dataclass(frozen=True)
class QuintetRoom:
    """One recording with its true images.

    Attributes:
        rt60_seconds: of the room.
        sample_rate: Hz.
        images: float32 (S, C, T), source by microphone.
        mixture: float32 (C, T), their sum and a little noise of the microphones.
    """

    rt60_seconds: float
    sample_rate: int
    images: Images
    mixture: NDArray[np.float32]


def simulate_quintet(rt60_seconds: float, seconds: float, sample_rate: int, seed: int) -> QuintetRoom:
    """A room of its own size, with players and microphones a little elsewhere, for each seed."""
    rng = np.random.default_rng([seed, 7])
    dry = play_quintet(seconds, sample_rate, seed)
    responses = _responses(rt60_seconds, sample_rate, rng)
    num_samples = dry.shape[1]
    images = np.empty((NUM_SPOTS, NUM_MICROPHONES, num_samples), np.float32)
    for source in range(NUM_SPOTS):
        for microphone in range(NUM_MICROPHONES):
            wet = oaconvolve(dry[source], responses[microphone][source])
            images[source, microphone] = wet[:num_samples]
    clean = images.sum(axis=0)
    noise = rng.standard_normal(clean.shape) * 10 ** (_NOISE_DB / 20) * np.sqrt(np.mean(np.square(clean)))
    mixture = clean + noise.astype(np.float32)
    scale = np.float32(_PEAK / np.abs(mixture).max())
    return QuintetRoom(rt60_seconds, sample_rate, images * scale, mixture * scale)


def _responses(rt60_seconds: float, sample_rate: int, rng: np.random.Generator) -> list[list[Array]]:
    """Impulse responses, by microphone and player."""
    size = np.array([8.0, 6.5, 3.2]) * rng.uniform(0.9, 1.15, 3)
    absorption, max_order = pyroomacoustics.inverse_sabine(rt60_seconds, size)
    room = pyroomacoustics.ShoeBox(
        size, fs=sample_rate, materials=pyroomacoustics.Material(absorption), max_order=max_order
    )
    players, microphones = _places(size, rng)
    for player in players:
        room.add_source(player)
    room.add_microphone_array(microphones.T)
    room.compute_rir()
    return [[np.asarray(response) for response in row] for row in room.rir]


def _places(size: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Players in a half circle, a spot half a metre before each, the room's microphones before them all, (n, 3)."""
    centre = np.array([size[0] / 2, size[1] * 0.55, 1.2])
    angles = np.deg2rad(np.linspace(160, 20, NUM_SPOTS) + rng.normal(0, 3, NUM_SPOTS))
    outwards = np.stack([np.cos(angles), np.sin(angles), np.zeros(NUM_SPOTS)], axis=1)
    players = centre + 1.7 * outwards + rng.normal(0, 0.05, (NUM_SPOTS, 3))
    spots = players - rng.uniform(0.4, 0.6, (NUM_SPOTS, 1)) * outwards + np.array([0, 0, 0.2])
    left_to_right = np.array([[-0.8, 0, 0], [0, 0, 0], [0.8, 0, 0]])
    distant = centre + np.array([0, -1.8, 0.8]) + left_to_right + rng.normal(0, 0.03, (3, 3))
    return players, np.concatenate([spots, distant])
