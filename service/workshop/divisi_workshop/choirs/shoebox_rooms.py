"""Rectangular rooms by image sources (pyroomacoustics), for choirs to sing in.

    python -m divisi_workshop.choirs.shoebox_rooms --out CACHE/halls --count 60

A file holds the responses of one room, for singers who stand around, at one microphone. Every room is made from its
number and the seed alone, so an interrupted run goes on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyroomacoustics
from tqdm import tqdm

from divisi_workshop.choirs.rooms import LONGEST_SECONDS, between
from divisi_workshop.choirs.takes import SAMPLE_RATE

DECAY_SECONDS = (0.25, 2.2)
HIGHEST_ORDER = 60
PLACES = 12


@dataclass(frozen=True)
class Shoebox:
    """A rectangular room and where things stand in it, metres; `places` (P, 3)."""

    size: np.ndarray
    decay_seconds: float
    microphone: np.ndarray
    places: np.ndarray


def draw_shoebox(rng: np.random.Generator, count: int) -> Shoebox:
    """A room from a parlour to a church, singers in an arc of their choir's width before one microphone."""
    decay_seconds = between(rng, DECAY_SECONDS)
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
        max_order=min(order, HIGHEST_ORDER),
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
