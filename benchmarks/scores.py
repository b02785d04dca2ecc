"""What a singer reads of a separated choir: whether `score.musicxml` has the right bars and notes, and cents are true.

    python benchmarks/scores.py --data DATA --cache CACHE [--model chorus] [--choirs measured|chosen_on]

- Scores: of the chorales (`scored_choirs`), whose bars are known, from the stems of a model. Right bars: as many as in
  the score, beside a pick-up. F1 of notes: right where key and beginning are those of the score, to a quarter of a
  beat, once the two are laid over each other by the shift that agrees best. Complaints: of the schema (MusicXML 2.0,
  which music21 carries), and of Verovio.
- Intonation: of all choirs, whose singers deviate as singers do: the pitch of each note that was found, against the
  median of what was sung there; cents.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import mir_eval
import music21
import numpy as np
import scored_choirs
import verovio
import xmlschema
from flagship import VOICES
from notes import QUARTERS, Piece, from_sources, from_stems, open_separator
from rich.console import Console
from rich.table import Table
from scored_choirs import ScoredChoir
from tqdm import tqdm

from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS

LEAST_RIGHT = 0.8
MOST_CENTS = {"stems": 12.0, "true sources": 6.0}
"""Median by note."""
SAME_QUARTERS = 0.25
SHIFTS = np.arange(-4.0, 4.25, 0.5)
SAME_SECONDS, SAME_SEMITONES = 0.05, 0.5
FEWEST_FRAMES = 10


@dataclass(frozen=True)
class ReadScore:
    """How one file compares with what was sung."""

    name: str
    true_bars: int
    bars: int
    f1: float
    complaints: int


def read_score(choir: ScoredChoir, path: Path, schema: xmlschema.XMLSchema) -> ReadScore:
    """Of the score of a choir, as a program reads it."""
    read = music21.converter.parse(path, forceSource=True)
    measures = read.parts[0].getElementsByClass(music21.stream.Measure)
    toolkit = verovio.toolkit()
    complaints = len(list(schema.iter_errors(ET.parse(path).getroot()))) + (not toolkit.loadFile(str(path)))
    written = [
        [(float(note.offset), note.pitch.midi) for note in part.flatten().stripTies().notes] for part in read.parts
    ]
    true = [[(note.start, note.midi + choir.semitones) for note in voice] for voice in choir.score.voices]
    f1 = max(note_f1(true, written, shift) for shift in SHIFTS)
    return ReadScore(choir.score.name, len(choir.bars), sum(m.number > 0 for m in measures), f1, complaints)


def note_f1(
    true: Sequence[Sequence[tuple[float, int]]], written: Sequence[Sequence[tuple[float, int]]], shift: float
) -> float:
    """Mean over voices; notes are (quarters, MIDI)."""
    values = []
    for one, other in zip(true, written, strict=True):
        graph = {
            place: [n for n, (at, key) in enumerate(other) if key == midi and abs(at + shift - start) <= SAME_QUARTERS]
            for place, (start, midi) in enumerate(one)
        }
        pairs = mir_eval.util._bipartite_match({place: right for place, right in graph.items() if right})
        values.append(2 * len(pairs) / max(1, len(one) + len(other)))
    return float(np.mean(values))


def cents_off(choir: ScoredChoir, content: dict) -> list[float]:
    """Of each note that was found where one was sung."""
    off = []
    for place, voice in enumerate(VOICES):
        found = content["voices"][voice]["notes"]
        shift = content["tuning"]["cents"] / 100
        for start, end, midi in choir.notes[place]:
            same = [
                note
                for note in found
                if abs(note["start_seconds"] - start) < SAME_SECONDS
                and abs(note["midi"] + shift - midi) < SAME_SEMITONES
            ]
            sung = choir.f0_hz[place][int(start / LABEL_HOP_SECONDS) : int(end / LABEL_HOP_SECONDS)]
            sung = sung[sung > 0]
            if same and len(sung) > FEWEST_FRAMES:
                off.append(1200 * float(np.log2(same[0]["f0_hz"] / np.median(sung))))
    return off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--choirs", choices=("measured", "chosen_on"), default="measured")
    given = parser.parse_args()
    separator = open_separator(given.model)
    singers = scored_choirs.load_singers(given.data, given.cache)
    written = scored_choirs.load_scores(given.choirs, given.data, QUARTERS)
    choirs = scored_choirs.load_choirs(written, singers, given.cache / "scored_choirs", waits=False)
    schema = xmlschema.XMLSchema(Path(music21.__file__).parent / "musicxml/musicxml.xsd", validation="lax")
    scores: list[ReadScore] = []
    off: dict[str, list[float]] = {"stems": [], "true sources": []}
    with tempfile.TemporaryDirectory() as folder:
        for choir in tqdm(choirs):
            piece = Piece(choir.name, choir.sources, choir.f0_hz, choir.notes)
            off["stems"] += cents_off(choir, from_stems(separator, piece, given.cache, Path(folder)))
            if len(choir.bars):
                scores.append(read_score(choir, Path(folder) / "score.musicxml", schema))
            off["true sources"] += cents_off(choir, from_sources(piece, Path(folder)))
    sys.exit(not print_tables(scores, off))


def print_tables(scores: Sequence[ReadScore], off: dict[str, list[float]]) -> bool:
    """Whether all is as good as it has to be."""
    table = Table("score", "bars, true", "bars, written", "F1 of notes", "complaints")
    for one in scores:
        table.add_row(one.name, str(one.true_bars), str(one.bars), f"{one.f1:.2f}", str(one.complaints))
    num_right, complaints = sum(one.bars == one.true_bars for one in scores), sum(one.complaints for one in scores)
    least = math.ceil(LEAST_RIGHT * len(scores))
    table.add_section()
    mean = float(np.mean([one.f1 for one in scores]))
    table.add_row("all", "", f"{num_right} right (bar {least})", f"{mean:.2f}", f"{complaints} (bar 0)")
    cents = Table("intonation", "notes", "median, cents", "nine of ten within", "bar")
    medians = {}
    for name, values in off.items():
        sizes = np.abs(values)
        medians[name] = float(np.median(sizes))
        row = (str(len(sizes)), f"{medians[name]:.1f}", f"{np.percentile(sizes, 90):.1f}", f"{MOST_CENTS[name]:g}")
        cents.add_row(name, *row)
    for each in (table, cents):
        Console(width=100).print(each)
    is_in_tune = all(medians[name] <= most for name, most in MOST_CENTS.items())
    return num_right >= least and not complaints and is_in_tune


if __name__ == "__main__":
    main()
