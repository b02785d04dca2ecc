"""What to expect of recordings as people bring them: rooms, several singers a part, another choir; bundle by bundle.

    python benchmarks/real_choirs.py --data DATA --cache CACHE [--stores model_store RUNS/draft] [--only dry rooms …]

Validation figures through the serving path: SI-SDR in dB against what each part sounds like in its room, mean over
4 s excerpts and the voices that sing in them. DATA holds `nino_dios/`; CACHE keeps the rooms' responses between runs
and holds `guests_held_back/` as `divisi_workshop.choirs.guest_choirs --held-back` makes them.

- dry: singer 4 of Niño Dios, seconds 30 to 50, as one recording.
- pairs: the same, two voices at a time, the roster given.
- rooms: the same in shoebox rooms of 0.6 s at 2.5 m and 1.8 s at 5 m, four rooms each.
- sections: two (singers 3 and 4) and four singers a part. Singers 1 to 3 were trained on, though not these seconds.
- sections in rooms: four a part in the same rooms.
- guests: singers and speakers nobody trained on sing chorales and hymns kept back; dry, and in a room of each kind.
- transposed: dry, five semitones down and up as a tape is.
- chorales: never trained on, re-sung by singer 4 (`syn_valid.json`), as far as CACHE/syn_valid holds them.

The columns are the mixture itself, every bundle, and a ratio mask made from the true sources.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile
import soxr
from flagship import VOICES, Scores, load_choirs, separate
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.signal import fftconvolve
from tqdm import tqdm

from divisi.bundles.store import BundleStore
from divisi.engines.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import default_model_store
from divisi_workshop.choirs.shoebox_rooms import Shoebox, shoebox_responses
from divisi_workshop.evaluation.oracle import ratio_masked

SAMPLE_RATE = 16_000
SONG_SECONDS = (30, 50)
SINGERS = 4
ROOM_SEEDS = 4
ROOMS = {"0.6 s": (0.6, 2.5, (9.0, 8.0, 4.0)), "1.8 s": (1.8, 5.0, (16.0, 13.0, 7.5))}
"""Decay time in seconds, distance and mean size in metres."""
GROUPS = ("dry", "pairs", "rooms", "sections", "sections in rooms", "guests", "transposed", "chorales")
SEMITONES = (-5, 5)
EVERYBODY = tuple(range(len(VOICES)))


@dataclass(frozen=True)
class Case:
    """One recording: true parts (4, T) whose sum it is, and who sings."""

    condition: str
    sources: NDArray[np.float32]
    sings: tuple[int, ...] = EVERYBODY


def draw_room(seed: int, decay_seconds: float, distance: float, mean_size: tuple[float, ...]) -> Shoebox:
    """Sixteen singers in an arc, part by part from left to right, four to a part."""
    rng = np.random.default_rng((seed, round(10 * decay_seconds)))
    size = np.array(mean_size) * rng.uniform(0.85, 1.15, 3)
    microphone = np.array([size[0] * rng.uniform(0.42, 0.58), size[1] * rng.uniform(0.15, 0.25), rng.uniform(1.4, 1.8)])
    count = len(VOICES) * SINGERS
    angles = np.pi / 2 + np.linspace(0.6, -0.6, count) + rng.uniform(-0.03, 0.03, count)
    radii = distance * rng.uniform(0.93, 1.07, count)
    places = microphone + np.stack([radii * np.cos(angles), radii * np.sin(angles), rng.uniform(-0.2, 0.2, count)], 1)
    return Shoebox(size, decay_seconds, microphone, places)


def responses(cache: Path, room: str, seed: int) -> NDArray[np.float32]:
    """Of one room, (4, SINGERS, taps); computed once."""
    path = cache / "bench_rooms" / f"{room.replace(' ', '')}_{seed}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, shoebox_responses(draw_room(seed, *ROOMS[room])))
    stored: NDArray[np.float32] = np.load(path)
    return stored.reshape(len(VOICES), SINGERS, -1)


def in_room(takes: NDArray[np.float32], heard: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each part sounds like there. Shape: (4, M, T) and (4, SINGERS, taps) -> (4, T)."""
    wet = fftconvolve(takes, heard[:, : takes.shape[1]], axes=2)[:, :, : takes.shape[2]]
    return np.asarray(wet.sum(1), np.float32)


def load_takes(data: Path, singers: Sequence[int]) -> NDArray[np.float32]:
    """Shape: (4, M, T)."""
    first, last = (second * SAMPLE_RATE for second in SONG_SECONDS)
    rows = [
        [
            soundfile.read(data / "nino_dios" / f"{voice}_{singer}.flac", dtype="float32")[0][first:last]
            for singer in singers
        ]
        for voice in VOICES
    ]
    return np.array(rows, np.float32)


def load_guests(folder: Path) -> list[NDArray[np.float32]]:
    """First take of every part, (4, 1, T) for each choir."""
    choirs = []
    for path in sorted(folder.glob("choir_*_bass.flac")):
        name = path.name.removesuffix("_bass.flac")
        rows = [
            soundfile.read(folder / f"{name}_{voice}.flac", dtype="float32", always_2d=True)[0][:, :1].T
            for voice in VOICES
        ]
        choirs.append(np.array(rows, np.float32))
    return choirs


def taped(sources: NDArray[np.float32], semitones: int) -> NDArray[np.float32]:
    """Faster and higher, or slower and lower. Shape: (4, T) -> (4, T')."""
    ratio = 2 ** (semitones / 12)
    return np.stack([soxr.resample(row, SAMPLE_RATE * ratio, SAMPLE_RATE) for row in sources]).astype(np.float32)


def cases(group: str, data: Path, cache: Path) -> Iterator[Case]:
    """The recordings of a group."""
    solo = load_takes(data, [4])
    if group == "dry":
        yield Case("dry", solo[:, 0])
    elif group == "pairs":
        for pair in combinations(EVERYBODY, 2):
            sung = np.zeros_like(solo[:, 0])
            sung[list(pair)] = solo[list(pair), 0]
            yield Case("pairs, roster given", sung, pair)
    elif group == "transposed":
        for semitones in SEMITONES:
            yield Case(f"transposed by {semitones:+d} semitones", taped(solo[:, 0], semitones))
    elif group == "chorales":
        for choir in load_choirs(cache / "syn_valid"):
            yield Case("chorales, re-sung", choir.sources)
    elif group == "sections":
        yield Case("two a part", load_takes(data, [3, 4]).sum(1))
        yield Case("four a part", load_takes(data, [1, 2, 3, 4]).sum(1))
    elif group in ("rooms", "sections in rooms"):
        takes, name = (solo, "one a part") if group == "rooms" else (load_takes(data, [1, 2, 3, 4]), "four a part")
        for room in ROOMS:
            for seed in range(ROOM_SEEDS):
                yield Case(f"{name}, room {room}", in_room(takes, responses(cache, room, seed)))
    elif group == "guests":
        choirs = load_guests(cache / "guests_held_back")
        for choir in choirs:
            yield Case("another choir, dry", choir[:, 0])
        for room in ROOMS:
            for number, choir in enumerate(choirs):
                yield Case(f"another choir, room {room}", in_room(choir, responses(cache, room, number % ROOM_SEEDS)))


def add_scores(columns: dict[str, Scores], separators: dict[str, Separator], case: Case) -> None:
    """One recording, as every column separates it."""
    mixture = case.sources.sum(0)
    told = None if case.sings == EVERYBODY else tuple(VOICES[place] for place in case.sings)
    columns["mixture"].add(np.tile(mixture, (len(VOICES), 1)), case.sources, case.sings)
    columns["oracle"].add(ratio_masked(mixture, case.sources), case.sources, case.sings)
    for name, separator in separators.items():
        columns[name].add(separate(separator, mixture, told).estimates, case.sources, case.sings)


def open_bundles(stores: Sequence[Path], model: str) -> dict[str, Separator]:
    """The model of every store, by name and version."""
    separators = {}
    for store in stores:
        bundle = BundleStore(store).get(model)
        engine = open_engine("onnx_runtime", bundle, EngineOptions("cpu", 1))
        separators[bundle.name] = Separator(engine, bundle.card)
    return separators


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--stores", type=Path, nargs="+", default=[default_model_store()])
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--only", nargs="+", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    separators = open_bundles(arguments.stores, arguments.model)
    figures: dict[str, dict[str, Scores]] = {}
    for group in arguments.only:
        for case in tqdm(list(cases(group, arguments.data, arguments.cache)), desc=group):
            empty = {name: Scores() for name in ("mixture", *separators, "oracle")}
            add_scores(figures.setdefault(case.condition, empty), separators, case)
    table = Table("condition", "mixture", *separators, "ratio mask of the true sources", title="SI-SDR in dB")
    for condition, columns in figures.items():
        table.add_row(condition, *(f"{scores.mean():.2f}" for scores in columns.values()))
    Console(width=110).print(table)
    if arguments.out is not None:
        means = {
            name: {column: scores.mean() for column, scores in columns.items()} for name, columns in figures.items()
        }
        arguments.out.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
