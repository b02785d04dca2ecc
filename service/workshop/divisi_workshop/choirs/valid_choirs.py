"""The fixed list of validation choirs: chorales never trained on, sung by the singers kept for validation.

    python -m divisi_workshop.choirs.valid_choirs draw --chorales JSON --list benchmarks/syn_valid.json
    python -m divisi_workshop.choirs.valid_choirs render --list benchmarks/syn_valid.json --chorales JSON \\
        --recordings NINO_DIOS --labels LABELS --out CACHE/syn_valid

The list is committed and stays as it is, so that scores of different days can be compared; what is rendered from it
is as private as the recordings. Another draw (`--seed 77 --count 40`) is for choosing between settings. The format of
the choirs is that of `resung`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from divisi_workshop.choirs.f0_labels import LABEL_HOP_SECONDS
from divisi_workshop.choirs.melodies import FRAME_RATE, REST, fits
from divisi_workshop.choirs.resung import Singer, analyse_singer, draw_text, load_chorales, save_choir, sing
from divisi_workshop.choirs.takes import VOICES, load_part

SECONDS = 8.0
STAGGERED_SHARE = 0.3
SHARED_TEXT_SHARE = 0.6
SEED = 4


@dataclass(frozen=True)
class ValidChoir:
    """One choir of the list.

    Attributes:
        chorale: index in the `valid` split.
        first_sixteenth: where the excerpt begins.
        quarter_seconds: length of a beat.
        semitones, tuning_cents: whole and fractional transposition.
        late_quarters: how many beats each voice lags behind, in score order.
        seed: of everything that singers do.
    """

    chorale: int
    first_sixteenth: int
    quarter_seconds: float
    semitones: int
    tuning_cents: float
    late_quarters: tuple[int, int, int, int]
    seed: int


def draw_list(chorales: Sequence[np.ndarray], seed: int) -> list[ValidChoir]:
    """One choir for each chorale."""
    rng = np.random.default_rng(seed)
    staggered = set(rng.permutation(len(chorales))[: round(STAGGERED_SHARE * len(chorales))].tolist())
    return [draw_choir(rng, number, chorale, number in staggered) for number, chorale in enumerate(chorales)]


def draw_choir(rng: np.random.Generator, number: int, chorale: np.ndarray, staggered: bool) -> ValidChoir:
    """A stretch of a chorale that throats can sing and in which every voice sounds at least half of the time."""
    while True:
        quarter_seconds = round(60 / rng.uniform(45, 120), 4)
        sixteenths = int(np.ceil(SECONDS / quarter_seconds * 4))
        choir = ValidChoir(
            chorale=number,
            first_sixteenth=int(rng.integers(0, max(1, (len(chorale) - sixteenths) // 4 + 1))) * 4,
            quarter_seconds=quarter_seconds,
            semitones=int(rng.integers(-4, 5)),
            tuning_cents=round(float(rng.uniform(-50, 50)), 1),
            late_quarters=_four(rng.integers(0, 8, 4) if staggered else np.zeros(4)),
            seed=int(rng.integers(2**31)),
        )
        midi = pitches(choir, chorale)
        if fits(midi) and (np.mean(midi != REST, axis=1) > 0.5).all() and (not staggered or any(choir.late_quarters)):
            return choir


def pitches(choir: ValidChoir, chorale: np.ndarray) -> np.ndarray:
    """Fractional MIDI on the label grid; rests before a voice has begun and after the end. Shape: (4, L)."""
    sixteenth_seconds = choir.quarter_seconds / 4
    steps = (np.arange(round(SECONDS * FRAME_RATE)) * LABEL_HOP_SECONDS / sixteenth_seconds).astype(int)
    index = choir.first_sixteenth + steps - 4 * np.array(choir.late_quarters)[:, None]
    notes = np.take_along_axis(chorale.T, np.clip(index, 0, len(chorale) - 1), axis=1).astype(np.float64)
    resting = (notes == REST) | (index < 0) | (index >= len(chorale))
    return np.where(resting, REST, notes + choir.semitones + choir.tuning_cents / 100)


def render(choir: ValidChoir, chorale: np.ndarray, singers: Sequence[Singer]) -> tuple[np.ndarray, np.ndarray]:
    """Sing one choir of the list. Returns samples (4, T) and F0 (4, L) in Hz."""
    rng = np.random.default_rng(choir.seed)
    midi = pitches(choir, chorale)
    shortest = min(len(singer.is_voiced) for singer in singers)
    common = draw_text(rng, midi.shape[1], shortest) if rng.random() < SHARED_TEXT_SHARE else None
    sung = []
    for singer, track in zip(singers, midi, strict=True):
        sung.append(sing(rng, singer, track, *(common or draw_text(rng, midi.shape[1], shortest))))
    return np.stack([samples for samples, _ in sung]), np.stack([f0_hz for _, f0_hz in sung])


def load_list(path: Path) -> list[ValidChoir]:
    return [
        ValidChoir(**{**values, "late_quarters": _four(np.array(values["late_quarters"]))})
        for values in json.loads(path.read_text())
    ]


def _four(values: np.ndarray) -> tuple[int, int, int, int]:
    soprano, alto, tenor, bass = (int(value) for value in values)
    return soprano, alto, tenor, bass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing, rendering = commands.add_parser("draw"), commands.add_parser("render")
    for command in (drawing, rendering):
        command.add_argument("--chorales", type=Path, required=True)
        command.add_argument("--list", type=Path, required=True)
    drawing.add_argument("--seed", type=int, default=SEED)
    drawing.add_argument("--count", type=int, help="the first so many alone")
    rendering.add_argument("--recordings", type=Path, required=True)
    rendering.add_argument("--labels", type=Path, required=True)
    rendering.add_argument("--singer", type=int, default=4)
    rendering.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chorales = load_chorales(arguments.chorales, "valid")
    if arguments.command == "draw":
        drawn = draw_list(chorales, arguments.seed)[: arguments.count]
        lines = ",\n".join(json.dumps(asdict(choir)) for choir in drawn)
        arguments.list.write_text(f"[\n{lines}\n]\n")
        return
    stems = [f"{voice}_{arguments.singer}" for voice in VOICES]
    singers = [
        analyse_singer(load_part(arguments.recordings / f"{stem}.flac", arguments.labels / f"{stem}.npy"))
        for stem in tqdm(stems, desc="analysing")
    ]
    for number, choir in enumerate(tqdm(load_list(arguments.list), desc="singing")):
        if not (arguments.out / f"choir_{number:05d}.npz").exists():
            sung = render(choir, chorales[choir.chorale], singers)
            save_choir(arguments.out, number, *sung, choir.quarter_seconds)


if __name__ == "__main__":
    main()
