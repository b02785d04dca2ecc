"""How well beats, bars, tempo and key are found: of choirs whose scores are known, from the stems of a model.

    python benchmarks/bars.py --data DATA --cache CACHE [--model chorus] [--choirs measured|chosen_on] [--waits]

F1 of beats and of downbeats within 70 ms (mir_eval), the median tempo against the true one, and the signature, of
20 chorales and 10 hymns (`scored_choirs`), whose bars are known of the chorales only. `--waits` sings fermatas, too.
Constants of beats were chosen on `chosen_on`, those of bars and keys on scores of the training's split.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mir_eval
import numpy as np
import scored_choirs
from notes import QUARTERS, Piece, from_stems, open_separator
from rich.console import Console
from rich.table import Table
from scored_choirs import ScoredChoir

BAR = 0.75
"""Of beats, where no fermata is waited on."""
SAME_SECONDS = 0.07


def row_of(choir: ScoredChoir, content: dict) -> list[float]:
    """F1 of beats and downbeats, found tempo by the true one, and whether the signature is right; NaN: not known."""
    beats = np.array([beat["seconds"] for beat in content["beats"]])
    bars = np.array([beat["seconds"] for beat in content["beats"] if beat["beat"] == 1])
    tempo = (content["beats_a_minute"] or np.nan) / (60 / np.median(np.diff(choir.beats)))
    fifths = choir.score.fifths
    if fifths is not None:  # as it sounds, of two that sound the same the one with fewer signs
        fifths = (fifths + 7 * choir.semitones + 5) % 12 - 5
    return [
        mir_eval.beat.f_measure(choir.beats, beats, SAME_SECONDS),
        mir_eval.beat.f_measure(choir.bars, bars, SAME_SECONDS) if len(choir.bars) else np.nan,
        tempo,
        np.nan if fifths is None or content["key"] is None else float(content["key"]["fifths"] == fifths),
    ]


def print_table(choirs: Sequence[ScoredChoir], rows: np.ndarray) -> None:
    """Shape: (choirs, 4)."""
    table = Table("", "beats", "downbeats", "tempo, found : true", "signature")
    for choir, row in zip(choirs, rows, strict=True):
        signature = "" if np.isnan(row[3]) else "right" if row[3] else "wrong"
        table.add_row(choir.score.name[:40], *("" if np.isnan(v) else f"{v:.2f}" for v in row[:3]), signature)
    table.add_section()
    is_same = np.abs(rows[:, 2] - 1) < 0.04
    right = f"{int(np.nansum(rows[:, 3]))} of {int((~np.isnan(rows[:, 3])).sum())} right"
    table.add_row(
        "mean", f"{rows[:, 0].mean():.3f}", f"{np.nanmean(rows[:, 1]):.3f}", f"{is_same.sum()} within 4 %", right
    )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--choirs", choices=("measured", "chosen_on"), default="measured")
    parser.add_argument("--waits", action="store_true", help="on fermatas")
    given = parser.parse_args()
    separator = open_separator(given.model)
    singers = scored_choirs.load_singers(given.data, given.cache)
    scores = scored_choirs.load_scores(given.choirs, given.data, QUARTERS)
    choirs = scored_choirs.load_choirs(scores, singers, given.cache / "scored_choirs", waits=given.waits)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for choir in choirs:
            piece = Piece(choir.name, choir.sources, choir.f0_hz, choir.notes)
            from_stems(separator, piece, given.cache, Path(folder))
            rows.append(row_of(choir, json.loads((Path(folder) / "bars.json").read_text())))
    print_table(choirs, np.array(rows))
    sys.exit(not given.waits and float(np.mean([row[0] for row in rows])) < BAR)


if __name__ == "__main__":
    main()
