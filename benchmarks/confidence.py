"""How far confidence is to be believed: of each second of each voice, the SI-SDR it promises beside the true one.

    python benchmarks/confidence.py --data ../data --cache CACHE [--model chorus] [--fit] [--only dry rooms …]

Judges the recordings of `real_choirs` through the serving Separator and prints, by condition, the mean promise and the
mean truth; over all of them Spearman's rank correlation. The bars: at least 0.6 over all, at least 0.5 on the choir
that nobody trained on, means within 1.5 dB. `--fit` prints the weights that least squares takes of singers 1 to 3, dry,
in pairs, in rooms made of noise and three to a part; every condition weighs as the root of its seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from choir_cases import EVERYBODY, GROUPS, VOICES, Case, cases, load_takes
from real_choirs import open_bundles
from rich.console import Console
from rich.table import Table
from scipy.signal import fftconvolve
from scipy.stats import spearmanr
from tqdm import tqdm

from divisi.delivery.pictures import PowerFrames
from divisi.delivery.scores import Confidence
from divisi.separation.separator import SeparationOptions, Separator
from divisi.settings import load_settings
from divisi_workshop.choirs.rooms import noise_hall
from divisi_workshop.choirs.takes import SAMPLE_RATE
from divisi_workshop.metrics import QUIETEST_MEAN_SQUARE, si_sdr_db

TRAINED_ON = (1, 2, 3)
OTHER_CHOIR = "another choir"
FRAMES_A_SECOND = 16
TRUTH_DB = (-15.0, 25.0)
"""Beyond these a voice is lost, or alone: the fit need not follow."""
FITTED_SECONDS = ((2, 22), (60, 80))
ROOMS, ROOMS_OF_SECTIONS = 12, 6
JUDGED = ("dry", "pairs", "rooms", "sections", "sections in rooms", "guests", "transposed", "noise")


def judged(separator: Separator, case: Case) -> np.ndarray:
    """Of each second of each voice that sings: features, promise and truth in dB. Shape: (seconds, features + 2)."""
    mixture = np.atleast_2d(case.recording)
    level = np.abs(mixture).max()
    voices = None if case.sings == EVERYBODY else tuple(VOICES[place] for place in case.sings)
    frames = PowerFrames(len(VOICES) + 2, SAMPLE_RATE, FRAMES_A_SECOND)
    confidence = Confidence(frames.frequencies, FRAMES_A_SECOND)
    stems = []
    options = SeparationOptions(voices=voices, is_accompanied=False)
    for block in separator.separate([mixture / level], SAMPLE_RATE, len(mixture), options=options):
        stems.append(block.stems[:, 0])
        for powers in frames.push(np.concatenate([block.mixture[None], block.stems, block.residual[None]])):
            confidence.push_powers(powers)
    for powers in frames.finish():
        confidence.push_powers(powers)
    features, is_sounding = confidence.features()
    promised = confidence.finish().expected_db
    seconds = case.sources.shape[1] // SAMPLE_RATE
    shape = (len(VOICES), seconds, SAMPLE_RATE)
    true = (case.sources[:, : seconds * SAMPLE_RATE] / level).reshape(shape)
    truth = si_sdr_db(np.concatenate(stems, axis=1)[:, : seconds * SAMPLE_RATE].reshape(shape), true)
    sings = np.square(true, dtype=np.float64).mean(-1) >= QUIETEST_MEAN_SQUARE
    rows = [
        [*features[second, place], promised[place, second], np.clip(truth[place, second], *TRUTH_DB)]
        for place in case.sings
        for second in range(seconds)
        if sings[place, second] and is_sounding[second, place]
    ]
    return np.array(rows).reshape(len(rows), features.shape[2] + 2)


def by_condition(separator: Separator, recordings: Iterable[Case]) -> dict[str, np.ndarray]:
    """What `judged` gives, joined."""
    rows: dict[str, list[np.ndarray]] = {}
    for case in recordings:
        rows.setdefault(case.condition, []).append(judged(separator, case))
    return {condition: np.concatenate(parts) for condition, parts in rows.items()}


def fitted_cases(data: Path) -> Iterator[Case]:
    """Recordings of the singers whom the network learned from."""
    rng = np.random.default_rng(3)
    taken = [load_takes(data, TRAINED_ON, seconds) for seconds in FITTED_SECONDS]
    for takes in taken:
        for singer in range(len(TRAINED_ON)):
            yield Case("dry", takes[:, singer])
            pair = tuple(sorted(int(place) for place in rng.choice(len(VOICES), 2, replace=False)))
            sung = np.zeros_like(takes[:, singer])
            sung[list(pair)] = takes[list(pair), singer]
            yield Case("pairs", sung, pair)
        yield Case("sections", takes.sum(1))
    for number in range(ROOMS + ROOMS_OF_SECTIONS):
        takes = taken[number % 2]
        if number < ROOMS:
            singer = number % len(TRAINED_ON)
            takes = takes[:, singer : singer + 1]
        heard = noise_hall(rng, takes.shape[0] * takes.shape[1]).reshape(*takes.shape[:2], -1)
        wet = fftconvolve(takes, heard, axes=2)[:, :, : takes.shape[2]].sum(1)
        yield Case("rooms" if number < ROOMS else "sections in rooms", np.asarray(wet, np.float32))


def fit(rows: dict[str, np.ndarray]) -> np.ndarray:
    """Weights of the features, and a constant."""
    stacked = np.concatenate(list(rows.values()))
    weight = np.concatenate([np.full(len(part), len(part) ** -0.5) for part in rows.values()])
    design = np.column_stack([stacked[:, :-2], np.ones(len(stacked))])
    weights: np.ndarray = np.linalg.lstsq(design * weight[:, None], stacked[:, -1] * weight, rcond=None)[0]
    return weights


def rank(rows: Iterable[np.ndarray]) -> float:
    stacked = np.concatenate(list(rows))
    return float(spearmanr(stacked[:, -2], stacked[:, -1]).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds nino_dios")
    parser.add_argument("--cache", type=Path, required=True, help="as real_choirs fills it")
    parser.add_argument("--model", default=load_settings().default_model)
    parser.add_argument("--only", nargs="+", default=list(JUDGED), choices=GROUPS)
    parser.add_argument("--fonts", type=Path, nargs="+", default=[], help="soundfonts for the accompaniment")
    parser.add_argument("--fit", action="store_true", help="print least-squares weights")
    arguments = parser.parse_args()
    (separator,) = open_bundles([Path(load_settings().model_store)], arguments.model).values()
    if arguments.fit:
        weights = fit(by_condition(separator, tqdm(list(fitted_cases(arguments.data)), desc="singers 1 to 3")))
        print(f"fitted: {np.round(weights, 2).tolist()}")
    recordings = [
        case for group in arguments.only for case in cases(group, arguments.data, arguments.cache, arguments.fonts)
    ]
    rows = by_condition(separator, tqdm(recordings, desc=arguments.model))
    table = Table("condition", "seconds", "promised", "true", "off by", title="SI-SDR of seconds, mean in dB")
    for condition, part in rows.items():
        promised, true = part[:, -2].mean(), part[:, -1].mean()
        table.add_row(condition, str(len(part)), f"{promised:.1f}", f"{true:.1f}", f"{promised - true:+.1f}")
    Console(width=110).print(table)
    print(f"rank correlation over all: {rank(rows.values()):.3f} (bar 0.6)")
    others = [part for condition, part in rows.items() if condition.startswith(OTHER_CHOIR)]
    if others:
        print(f"rank correlation, {OTHER_CHOIR}: {rank(others):.3f} (bar 0.5)")


if __name__ == "__main__":
    main()
