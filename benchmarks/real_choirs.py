"""What to expect of recordings as people bring them: rooms, several singers a part, another choir; bundle by bundle.

    python benchmarks/real_choirs.py --data DATA --cache CACHE [--stores model_store RUNS/draft] [--only dry rooms …]

Validation figures through the serving path: SI-SDR in dB against what each part sounds like in its room, mean over
4 s excerpts and the voices that sing in them. DATA holds `nino_dios/`; CACHE keeps the rooms' responses between runs
and holds `guests_held_back/` as `divisi_workshop.choirs.guest_choirs --held-back` makes them.

- dry: singer 4 of Niño Dios, seconds 30 to 50, as one recording.
- pairs: the same, two voices at a time, the roster given.
- SAB: the same without the tenor, the roster given.
- stereo: the same, panned from left to right by level; scores are those of the left channel.
- rooms: the same in shoebox rooms of 0.6 s at 2.5 m and 1.8 s at 5 m, four rooms each.
- sections: two (singers 3 and 4) and four singers a part. Singers 1 to 3 were trained on, though not these seconds.
- sections in rooms: four a part in the same rooms.
- soloist: singer 4, dry, before singers 1 to 3 of all parts in the room of 1.8 s, 6 dB louder than the part to which
  the soloist is counted; each part in turn.
- guests: singers and speakers nobody trained on sing chorales and hymns kept back; dry, and in a room of each kind.
- transposed: dry, five semitones down and up as a tape is.
- noise: dry, pink noise 20 and 10 dB below the choir.
- mp3: dry, through ffmpeg at 96 kbit/s.
- accompaniment: dry, doubled by a piano and an organ 12 and 6 dB below the choir and as loud; every soundfont of
  `--fonts` plays (fluidsynth; TimGM6mb and GMbank were never trained on). Scores are those of the voices. Also with
  the guests.
- chorales: never trained on, re-sung by singer 4 (`syn_valid.json`), as far as CACHE/syn_valid holds them.

The columns are the mixture itself, every bundle, and a ratio mask made from the true sources.

Under the table stands how many pitches are wrong on `dagstuhl`, a recorded quartet of another choir without true parts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from choir_cases import EVERYBODY, GROUPS, SAMPLE_RATE, Case, cases
from flagship import LABEL_HOP_SECONDS, SAME_PITCH_CENTS, VOICES, Scores, count_swaps, separate
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import default_model_store
from divisi_workshop.evaluation.evaluate import ratio_masked

DAGSTUHL_SINGERS = ("S2", "A1", "T1", "B1")


def add_scores(columns: dict[str, Scores], separators: dict[str, Separator], case: Case) -> None:
    """One recording, as every column separates it."""
    mixture = case.recording
    told = None if case.sings == EVERYBODY else tuple(VOICES[place] for place in case.sings)
    first = np.atleast_2d(mixture)[0]
    columns["mixture"].add(np.tile(first, (len(VOICES), 1)), case.sources, case.sings)
    columns["oracle"].add(ratio_masked(first, case.everything)[: len(VOICES)], case.sources, case.sings)
    for name, separator in separators.items():
        columns[name].add(separate(separator, mixture, told).estimates, case.sources, case.sings)


def wrong_pitches(separator: Separator, folder: Path) -> tuple[float, float]:
    """Of the frames in which a voice of the Dagstuhl quartet sings and is given a pitch: the share in which it is wrong
    by more than SAME_PITCH_CENTS; and of all in which one sings, the share that has another voice's pitch.
    """
    samples, rate = soundfile.read(next(folder.glob("*_STM.flac")), dtype="float32", always_2d=True)
    found = separate(separator, soxr.resample(samples.mean(1), rate, SAMPLE_RATE), None).f0_hz
    tracks = [
        np.loadtxt(next(folder.glob(f"*_{singer}_LRX.csv")), delimiter=";", skiprows=1, dtype=np.float32)
        for singer in DAGSTUHL_SINGERS
    ]
    seconds = np.arange(0, tracks[0][-1, 0], LABEL_HOP_SECONDS)
    labels = np.stack([track[np.searchsorted(track[:-1, 0], seconds), 1] for track in tracks])
    hop_seconds = separator.f0_hop_seconds or 0.0
    swapped, sung = count_swaps(found, labels, hop_seconds)
    index = np.minimum((np.arange(found.shape[1]) * hop_seconds / LABEL_HOP_SECONDS).astype(int), labels.shape[1] - 1)
    both = (labels[:, index] > 0) & (found > 0)
    cents = 1200 * np.abs(np.log2(found[both] / labels[:, index][both]))
    return float((cents > SAME_PITCH_CENTS).mean()), swapped / sung


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
    parser.add_argument("--fonts", type=Path, nargs="+", default=[], help="soundfonts for the accompaniment")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    separators = open_bundles(arguments.stores, arguments.model)
    figures: dict[str, dict[str, Scores]] = {}
    for group in arguments.only:
        for case in tqdm(list(cases(group, arguments.data, arguments.cache, arguments.fonts)), desc=group):
            empty = {name: Scores() for name in ("mixture", *separators, "oracle")}
            add_scores(figures.setdefault(case.condition, empty), separators, case)
    table = Table("condition", "mixture", *separators, "ratio mask of the true sources", title="SI-SDR in dB")
    for condition, columns in figures.items():
        table.add_row(condition, *(f"{scores.mean():.2f}" for scores in columns.values()))
    Console(width=110).print(table)
    for name, separator in separators.items():
        wrong, swapped = wrong_pitches(separator, arguments.data / "dagstuhl")
        Console().print(f"{name} on a quartet of another choir: {wrong:.1%} of pitches wrong, {swapped:.1%} another's")
    if arguments.out is not None:
        means = {
            name: {column: scores.mean() for column, scores in columns.items()} for name, columns in figures.items()
        }
        arguments.out.write_text(json.dumps(means, indent=1) + "\n")


if __name__ == "__main__":
    main()
