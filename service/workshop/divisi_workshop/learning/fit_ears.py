"""The constants by which `voices=auto` judges who sings (`separation.roster`), and how often it is then wrong.

    python -m divisi_workshop.learning.fit_ears --checkpoint RUNS/chorus_presence/checkpoint.pt \\
        --data DATA --cache CACHE

Excerpts of singers 1 to 3 and of choirs from the cache, in all fifteen sets of voices, are heard with every roster that
holds those who sing; then logistic regressions say how much each thing that was heard should count. The table tries
them on excerpts that were left out of the fit; the constants printed below it are fitted to all.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from divisi.separation.roster import Ear, Evidence, settle, share_notes
from divisi_workshop.choirs.resung import load_resung
from divisi_workshop.choirs.rooms import place_in_room
from divisi_workshop.choirs.takes import VOICES, Choir, Part, excerpt, load_nino_dios
from divisi_workshop.networks import chorus

EVERYBODY = tuple(range(len(VOICES)))
ROSTERS = [roster for count in range(1, 5) for roster in combinations(EVERYBODY, count)]
STRETCHES = 2
STRETCH_SAMPLES = 98_304
STRETCH_SECONDS = 6.2
"""Of the recording, with what the steepest transposition takes more."""
LEAST_SUNG = 0.1
"""Share of frames in which each of those who sing should have a pitch."""
FOLDS = 6
RIDGE = 1e-2
NEWTON_STEPS = 100
REAL_SINGERS = (1, 2, 3)
BY_DECIBEL, BY_NOTE, BY_PRESENCE = range(3)
WEIGHINGS = {
    "energy, notes of one's own": ((BY_DECIBEL, BY_NOTE), True),
    "and the network's own answer": ((BY_DECIBEL, BY_NOTE, BY_PRESENCE), True),
    "the network's answer alone": ((BY_PRESENCE,), True),
    "all three, heard once": ((BY_DECIBEL, BY_NOTE, BY_PRESENCE), False),
}
"""What is weighed, and whether voices in doubt are struck."""


@dataclass(frozen=True)
class Heard:
    """What was heard of one excerpt in which `sings` sing, by the roster that the network was told."""

    is_real: bool
    sings: tuple[int, ...]
    by_roster: dict[tuple[int, ...], Evidence]


def draw_stretches(
    rng: np.random.Generator, parts: Sequence[Part], seconds: float, sings: tuple[int, ...], may_transpose: bool
) -> Iterator[np.ndarray]:
    """Stretches of one excerpt at root mean square 0.1: levels, room, noise and transposition are its own.

    Shape: float32 (STRETCH_SAMPLES,).
    """
    gains = 10 ** (rng.normal(0, 3, (len(parts), 1)) / 20)
    with_room, noise = rng.random() < 0.5, 10 ** (rng.uniform(-70, -36) / 20)
    semitones = float(rng.uniform(-3, 3)) if may_transpose else 0.0
    for _ in range(STRETCHES):
        for _ in range(10):
            start = float(rng.uniform(0, max(seconds - STRETCH_SECONDS, 0.1)))
            cut = [excerpt(part, start, semitones, STRETCH_SAMPLES, 512) for part in parts]
            if all((cut[voice][1] > 0).mean() > LEAST_SUNG for voice in sings):
                break
        sources = place_in_room(rng, np.stack([samples for samples, _ in cut]), with_room) * gains
        mixture = sources[list(sings)].sum(0)
        mixture = mixture / (np.sqrt(np.square(mixture).mean()) + 1e-9) + noise * rng.standard_normal(len(mixture))
        yield (0.1 * mixture).astype(np.float32)


@torch.inference_mode()
def hear(network: Any, stretches: Sequence[np.ndarray], roster: tuple[int, ...]) -> Evidence:
    """What `separation.roster` would hear of these stretches, told this roster."""
    told = torch.zeros(1, len(VOICES))
    told[0, list(roster)] = 1
    energies, notes, presence = [], [], []
    for stretch in stretches:
        estimates, f0_hz, _, log_odds = network(torch.from_numpy(stretch)[None, None], told)
        energies.append(np.square(estimates[0, :, 0].numpy(), dtype=np.float64).sum(1))
        notes.append(share_notes(f0_hz[0].numpy()))
        presence.append(log_odds[0].numpy().astype(np.float64))
    return Evidence(np.stack(energies), np.stack(notes), np.stack(presence))


def hear_choirs(network: Any, choirs: Sequence[Choir], is_real: bool, draws: int, seed: int) -> list[Heard]:
    """So many excerpts of every set of voices; every other draw of real singers keeps their key."""
    rng = np.random.default_rng(seed)
    heard = []
    for draw, sings in tqdm([(draw, sings) for draw in range(draws) for sings in ROSTERS]):
        choir = choirs[int(rng.integers(len(choirs)))] if len(choirs) > 1 else choirs[0]
        parts = [voice[int(rng.integers(len(voice)))] for voice in choir.parts]
        stretches = list(draw_stretches(rng, parts, choir.seconds, sings, not is_real or draw % 2 == 1))
        supersets = [roster for roster in ROSTERS if set(sings) <= set(roster)]
        heard.append(Heard(is_real, sings, {roster: hear(network, stretches, roster) for roster in supersets}))
    return heard


def fit_ear(rows: np.ndarray, sings: np.ndarray, columns: tuple[int, ...]) -> Ear:
    """Logistic regression by Newton's method, on some of the features (`Evidence.features`). Shape: (R, 3), (R,)."""
    chosen = rows[:, columns]
    centre, spread = chosen.mean(0), chosen.std(0)
    design = np.c_[(chosen - centre) / spread, np.ones(len(chosen))]
    weights = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        odds = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (odds - sings) + RIDGE * weights
        curvature = (design * (odds * (1 - odds))[:, None]).T @ design + RIDGE * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, slope)
    by_feature = np.zeros(rows.shape[1])
    by_feature[list(columns)] = weights[:-1] / spread
    decibel, note, presence = map(float, by_feature)
    return Ear(decibel, note, presence, float(weights[-1] - (weights[:-1] * centre / spread).sum()))


def gather(heard: Sequence[Heard], is_told: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features of every voice in every stretch, and whether it sings: heard with a roster of all, or of voices that the
    network was told. Shape: (R, 3), (R,).
    """
    rows, sings = [], []
    for item in heard:
        for roster, evidence in item.by_roster.items():
            if len(roster) > 1 if is_told else roster == EVERYBODY:
                rows.append(evidence.features()[:, list(roster)].reshape(-1, 3))
                sings.append(np.tile([voice in item.sings for voice in roster], STRETCHES))
    return np.concatenate(rows), np.concatenate(sings)


def fit(heard: Sequence[Heard], columns: tuple[int, ...]) -> tuple[Ear, Ear]:
    """Ears for a roster of all, and for what the network was told: there only of voices on the roster."""
    return fit_ear(*gather(heard, is_told=False), columns), fit_ear(*gather(heard, is_told=True), columns)


def decide(item: Heard, untold: Ear, told: Ear, strikes: bool) -> tuple[int, ...]:
    """Who is heard. When a voice that sings has been struck, what is left of the roster then."""
    asked: list[tuple[int, ...]] = []

    def listen_to(roster: list[int]) -> Evidence:
        asked.append(tuple(roster))
        return item.by_roster[asked[-1]]

    everybody = item.by_roster[EVERYBODY]
    certain = Ear(0.0, 0.0, 0.0, 1.0)
    # Only rosters that hold all who sing were heard.
    try:
        return tuple(settle(everybody, listen_to, untold, told if strikes else certain))
    except KeyError:
        return asked[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--real-draws", type=int, default=4, help="excerpts of real singers for each set of voices")
    parser.add_argument("--synthetic-draws", type=int, default=3)
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, weights_only=True)
    network = chorus.build(state["config"].get("network"))
    network.load_state_dict(state["average"])
    network.eval()
    folders = arguments.data / "nino_dios", arguments.cache / "labels" / "nino_dios"
    real, synthetic = [load_nino_dios(*folders, REAL_SINGERS)], load_resung(arguments.cache / "resung")
    heard = hear_choirs(network, real, True, arguments.real_draws, 11)
    heard += hear_choirs(network, synthetic, False, arguments.synthetic_draws, 12)
    print_table(heard)


def print_table(heard: Sequence[Heard]) -> None:
    """Sets heard wrong of excerpts left out of the fit, and the ears fitted to all."""
    real = sum(item.is_real for item in heard)
    table = Table(title=f"sets heard wrong, of {real} real and {len(heard) - real} synthetic")
    for heading in ("what is weighed", "real", "synthetic", "lacking a voice that sings"):
        table.add_column(heading, justify="left" if heading == "what is weighed" else "right")
    for name, (columns, strikes) in WEIGHINGS.items():
        wrong = {True: 0, False: 0}
        lacking = 0
        for fold in range(FOLDS):
            ears = fit([item for number, item in enumerate(heard) if number % FOLDS != fold], columns)
            for item in heard[fold::FOLDS]:
                found = decide(item, *ears, strikes=strikes)
                wrong[item.is_real] += found != item.sings
                lacking += not set(item.sings) <= set(found)
        table.add_row(name, str(wrong[True]), str(wrong[False]), str(lacking))
    console = Console()
    console.print(table)
    untold, told = fit(heard, (BY_DECIBEL, BY_NOTE, BY_PRESENCE))
    console.print("UNTOLD =", untold)
    console.print("TOLD =", told)


if __name__ == "__main__":
    main()
