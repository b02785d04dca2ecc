"""What the first stage of `chorus` learns from: choirs, and what might accompany them, each on its own.

    python -m divisi_workshop.learning.accompaniment_examples --data DATA --guests CACHE/guests --halls CACHE/halls \\
        --accompaniments CACHE/accompaniments --out CACHE/accompaniment_examples --count 1500

Two of three play with the choir's own notes, as `accompaniments` made them; the others are another choir's, a hum, or
applause. How loud one is against the other, and whether it is there at all, training decides anew each time. Every
example is made from its number and the seed alone; a training run (`accompany`) may already read what is there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from divisi_workshop.choirs.accompaniments import RECORDED, applause, hum
from divisi_workshop.choirs.rooms import load_halls
from divisi_workshop.choirs.takes import VOICES, Choir, Part, excerpt
from divisi_workshop.learning.choir_examples import (
    HOP,
    KEPT_SECONDS,
    KIND_SHARES,
    KINDS,
    LEAD_IN,
    LENGTH,
    ExampleMaker,
    ExampleOptions,
    Source,
    Stage,
    load_guests,
    read_take,
    save_example,
)

GUEST_SHARE = 0.55
OWN_SHARE, NOISE_SHARE = 0.65, 0.12
"""Of what plays with the choir's own notes, and of hum and applause."""
SAME_PLACE_SHARE = 0.7
OFF_TUNE = 0.06, 0.35
"""Semitones by which an accompaniment is off the singers' pitch: usually, and of three singers a part in ten."""
LEVEL = 0.06
QUIETEST = 1e-4


class AccompaniedMaker:
    """Draws pairs of a choir and an accompaniment; `players` holds what was played for each source, in its order."""

    def __init__(
        self,
        sources: Sequence[Source],
        players: Sequence[Sequence[Part]],
        halls: Sequence[np.ndarray],
        options: ExampleOptions,
    ) -> None:
        self.sources = list(sources)
        self.players = list(players)
        self.options = options
        self.starts = ExampleMaker(sources, halls, options)
        self.halls = list(halls)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Choir and accompaniment, equally loud. Shape: (2, LENGTH); the accompaniment may be silent for good."""
        while True:
            place = int(rng.choice(len(self.sources), p=self.starts.shares))
            start = self.starts.start(rng, self.sources[place])
            semitones = float(rng.uniform(-self.options.transpose_semitones, self.options.transpose_semitones))
            kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
            stage = Stage(rng, "room" in kind, self.halls, self.options.shoebox_share)
            choir = self.choir(rng, stage, place, start, semitones, "section" in kind)
            if np.std(choir) > QUIETEST:
                break
        other = self.accompaniment(rng, stage, place, start, semitones)
        return np.stack([LEVEL / np.std(one) * one if np.std(one) > QUIETEST else 0 * one for one in (choir, other)])

    def choir(
        self, rng: np.random.Generator, stage: Stage, place: int, start: float, semitones: float, is_section: bool
    ) -> np.ndarray:
        """Shape: (LENGTH,)."""
        total = np.zeros(LENGTH, np.float32)
        sings = rng.random(4) < (1.0 if rng.random() < 0.75 else 0.5)
        for takes, is_there in zip(self.sources[place].choir.parts, sings, strict=True):
            gain_db = rng.normal(0, self.options.gain_db)
            for _ in range(int(rng.integers(2, 5)) if is_section else 1):
                take = takes[int(rng.integers(len(takes)))]
                late, detuned = (rng.uniform(0, 0.06), rng.normal(0, 0.12)) if is_section else (0.0, 0.0)
                if is_there:
                    samples, _ = excerpt(take, start - late, semitones + detuned, LENGTH + LEAD_IN, HOP)
                    total += stage.place(samples) * 10 ** ((gain_db + rng.normal(0, 2)) / 20)
        return total

    def accompaniment(
        self, rng: np.random.Generator, stage: Stage, place: int, start: float, semitones: float
    ) -> np.ndarray:
        """Shape: (LENGTH,)."""
        if rng.random() < NOISE_SHARE:
            made = (hum, applause)[int(rng.integers(2))](rng, LENGTH + LEAD_IN)
        else:
            if rng.random() > OWN_SHARE or not self.players[place]:
                place = int(rng.integers(len(self.sources)))
                start = self.starts.start(rng, self.sources[place])
            off = rng.normal(0, OFF_TUNE[1] if rng.random() < 0.3 else OFF_TUNE[0])
            players = self.players[place] or self.players[0]
            part = players[int(rng.integers(len(players)))]
            made, _ = excerpt(part, start, semitones + off, LENGTH + LEAD_IN, HOP)
        elsewhere = Stage(rng, rng.random() < 0.5, self.halls, self.options.shoebox_share)
        return (stage if rng.random() < SAME_PLACE_SHARE else elsewhere).place(made)


def load_players(folder: Path, name: str) -> list[Part]:
    """What was played beside one choir."""
    path = folder / f"{name}_accompaniment.flac"
    if not path.exists():
        return []
    sounds, _ = soundfile.read(path, dtype="int16", always_2d=True)
    return [Part(name, np.ascontiguousarray(sound), np.zeros(1, np.float32)) for sound in sounds.T]


def load_maker(data: Path, guests: Path, halls: Path, accompaniments: Path) -> AccompaniedMaker:
    """Singers 1 to 3 and all guests of a folder, with what accompanies each."""
    recorded = Choir(
        tuple(
            tuple(read_take(data / "nino_dios" / f"{voice}_{singer}.flac") for singer in (1, 2, 3)) for voice in VOICES
        )
    )
    names = [path.name.removesuffix("_bass.flac") for path in sorted(guests.glob("choir_*_bass.flac"))]
    choirs = load_guests(guests)
    sources = [
        Source(recorded, 1 - GUEST_SHARE, KEPT_SECONDS),
        *(Source(choir, GUEST_SHARE / len(choirs)) for choir in choirs),
    ]
    players = [load_players(accompaniments, name) for name in (RECORDED, *names)]
    return AccompaniedMaker(sources, players, load_halls(halls), ExampleOptions())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds nino_dios/")
    parser.add_argument("--guests", type=Path, required=True)
    parser.add_argument("--halls", type=Path, required=True)
    parser.add_argument("--accompaniments", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    maker = load_maker(given.data, given.guests, given.halls, given.accompaniments)
    given.out.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(given.first, given.first + given.count), desc="mixing", mininterval=20):
        path = given.out / f"example_{number:06d}.npz"
        if not path.exists():
            sounds = maker.draw(np.random.default_rng((given.seed, number)))
            save_example(path, {"sounds": np.round(np.clip(sounds, -0.999, 0.999) * 32767).astype(np.int16)})


if __name__ == "__main__":
    main()
