"""The fixed list of validation choirs: chorales never trained on, sung by the singers kept for validation.

    python benchmarks/valid_choirs.py DATA CACHE CACHE/syn_valid --listed benchmarks/syn_valid.json

The list is committed and stays as it is, so that scores of different days can be compared; what is rendered from it
is as private as the recordings. Another draw, for choosing between settings, is made by `--seed 77 --count 40` in place
of a list. The format of the choirs is that of `choirs.takes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from pydantic import TypeAdapter
from tqdm import tqdm

from divisi_workshop.choirs.melodies import FRAME_RATE, REST, fits
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, load_chorales, save_choir
from divisi_workshop.choirs.world_voices import Singer, draw_text, recorded_singers, sing

SECONDS = 8.0
STAGGERED_SHARE = 0.3
SHARED_TEXT_SHARE = 0.6
SINGER = 4
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
    late_quarters: tuple[int, ...]
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
            late_quarters=tuple(rng.integers(0, 8, 4).tolist()) if staggered else (0, 0, 0, 0),
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
    return TypeAdapter(list[ValidChoir]).validate_json(path.read_bytes())


def main(
    data: Path, cache: Path, out: Path, listed: Path | None = None, seed: int = SEED, count: int | None = None
) -> None:
    """Render a list, or the first so many choirs of another draw; what OUT holds is kept."""
    chorales = load_chorales(data / "chorales" / "jsb_satb_16ths.json", "valid")
    choirs = load_list(listed) if listed else draw_list(chorales, seed)[:count]
    singers = [singer for (singer,) in recorded_singers(data / "nino_dios", cache / "labels" / "nino_dios", (SINGER,))]
    for number, choir in enumerate(tqdm(choirs, desc="singing")):
        if not (out / f"choir_{number:05d}.npz").exists():
            save_choir(out, number, *render(choir, chorales[choir.chorale], singers), choir.quarter_seconds)


if __name__ == "__main__":
    typer.run(main)
