"""Rooms for choirs, from small to cathedral, made in two ways, so that a network learns the flaws of neither.

    python -m divisi.training.halls --out CACHE/halls --count 60

`noise_hall` is a decaying noise with a few echoes, made on the spot. `Shoebox` rooms are image sources
(pyroomacoustics), slow to compute and therefore kept in a folder: each file holds the responses of one room, for
singers who stand around, heard by one microphone. Every room is made from its number and the seed alone.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroomacoustics
from tqdm import tqdm

from divisi.training.takes import SAMPLE_RATE

DECAY_SECONDS = (0.2, 2.5)
NOISE_DISTANCES = (0.7, 4.0)
"""Of the singers from the microphone, in critical distances: where direct sound and reverberation are equally loud."""
LONGEST_SECONDS = 2.2
SHOEBOX_DECAY_SECONDS = (0.25, 2.2)
SHOEBOX_ORDER = 60
PLACES = 12


@dataclass(frozen=True)
class Shoebox:
    """A rectangular room and where things stand in it, metres; `places` (P, 3)."""

    size: np.ndarray
    decay_seconds: float
    microphone: np.ndarray
    places: np.ndarray


def noise_hall(rng: np.random.Generator, count: int) -> np.ndarray:
    """Responses of one room to singers at about one distance; direct sound at tap 0. Shape: (count, taps), energy 1."""
    decay_seconds = _between(rng, DECAY_SECONDS)
    distance = _between(rng, NOISE_DISTANCES)
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


def draw_shoebox(rng: np.random.Generator, count: int) -> Shoebox:
    """A room from a parlour to a church, singers in an arc of their choir's width before one microphone."""
    decay_seconds = _between(rng, SHOEBOX_DECAY_SECONDS)
    # Large rooms ring longer; neither follows from the other.
    scale = float(np.clip(decay_seconds**0.5 * np.exp(rng.normal(0, 0.25)), 0.5, 1.8))
    size = scale * np.array([rng.uniform(7, 16), rng.uniform(6, 11), rng.uniform(3.2, 6.5)])
    microphone = np.array([size[0] * rng.uniform(0.3, 0.7), size[1] * rng.uniform(0.15, 0.4), rng.uniform(1.2, 2.2)])
    room_left = size[1] - microphone[1] - 0.5
    distance = float(np.clip(rng.uniform(1.0, 8.0), 0.7, room_left))
    angles = np.pi / 2 + np.sort(rng.uniform(-0.8, 0.8, count))
    radii = distance * np.exp(rng.normal(0, 0.12, count))
    places = microphone + np.stack([radii * np.cos(angles), radii * np.sin(angles), rng.uniform(-0.5, 0.3, count)], 1)
    return Shoebox(size, decay_seconds, microphone, np.clip(places, 0.4, size - 0.4))


def shoebox_responses(room: Shoebox, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Responses at the microphone, the nearest singer's direct sound at the first tap. Shape: (P, taps), mean energy 1.

    Where the decay time is beyond what the walls can do, they absorb all that they can.
    """
    try:
        absorption, order = pyroomacoustics.inverse_sabine(room.decay_seconds, room.size)
    except ValueError:
        absorption, order = 0.99, 3
    simulated = pyroomacoustics.ShoeBox(
        room.size,
        fs=sample_rate,
        materials=pyroomacoustics.Material(absorption),
        max_order=min(order, SHOEBOX_ORDER),
        air_absorption=True,
    )
    for place in room.places:
        simulated.add_source(place)
    simulated.add_microphone(room.microphone)
    simulated.compute_rir()
    return aligned(simulated.rir[0])


def aligned(responses: Sequence[np.ndarray]) -> np.ndarray:
    """One length, no common delay, mean energy 1. Shape: (P, taps)."""
    first = min(int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max())) for response in responses)
    longest = min(max(map(len, responses)) - first, int(LONGEST_SECONDS * SAMPLE_RATE))
    whole = np.zeros((len(responses), longest), np.float32)
    for row, response in zip(whole, responses, strict=True):
        kept = response[first : first + longest]
        row[: len(kept)] = kept
    energy: np.ndarray = np.sqrt(np.mean(np.sum(whole**2, axis=1)))
    return whole / energy


def load_halls(folder: Path) -> list[np.ndarray]:
    """All rooms of a folder, (P, taps) each; none where there is no folder."""
    return [np.load(path).astype(np.float32) for path in sorted(folder.glob("hall_*.npy"))]


def _between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(arguments.count), desc="building"):
        path = arguments.out / f"hall_{number:04d}.npy"
        if not path.exists():
            rng = np.random.default_rng((arguments.seed, number))
            responses = shoebox_responses(draw_shoebox(rng, PLACES))
            partial = path.with_suffix(".partial")
            with partial.open("wb") as handle:
                np.save(handle, responses.astype(np.float16))
            partial.replace(path)


if __name__ == "__main__":
    main()
