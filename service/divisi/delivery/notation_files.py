"""What singers could read of the notes that were found, as files: `notes.mid`, `bars.json`, scores, and how well the
choir is in tune (`intonation.csv` with a row for each note, `intonation.json` for the whole).
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from divisi.contract.manifest import BarsBody, BeatBody, KeyBody
from divisi.notation.bars import Bars, find_bars
from divisi.notation.intonation import deviation_cents, drift_cents, intervals, typical
from divisi.notation.midi_file import write_midi
from divisi.notation.musicxml import write_musicxml
from divisi.notation.notes import Note
from divisi.notation.tuning import Tuning

MIDI_NAME, BARS_NAME, SCORE_NAME = "notes.mid", "bars.json", "score.musicxml"
INTONATION_NAMES = CSV_NAME, JSON_NAME = "intonation.csv", "intonation.json"
_COLUMNS = ("voice", "start_seconds", "end_seconds", "bar", "beat", "midi", "f0_hz", "cents")
# By semitones within the octave.
_CALLED = {3: "minor_thirds", 4: "major_thirds", 7: "fifths", 12: "octaves"}


def notation_names(voices: Sequence[str]) -> list[str]:
    """Of the files of these voices."""
    return [MIDI_NAME, BARS_NAME, *INTONATION_NAMES, SCORE_NAME, *map(part_score_name, voices)]


def part_score_name(voice: str) -> str:
    """Of the file with this part alone."""
    return f"{voice}.musicxml"


def write_notation(
    folder: Path, title: str, by_voice: Mapping[str, Sequence[Note]], tuning: Tuning, hop_seconds: float
) -> list[Path]:
    """Writes all of them; gives their paths.

    Args:
        folder: where to create or replace them.
        title: of the recording.
        by_voice: notes of each voice by its name, highest voice first.
        tuning: where their keys lie; `hop_seconds` from one of its frames to the next.
    """
    bars = find_bars(list(by_voice.values()))
    write_midi(folder / MIDI_NAME, by_voice, tuning.cents, bars)
    (folder / BARS_NAME).write_text(bars_body(bars).model_dump_json(indent=1) + "\n", encoding="ascii")
    write_intonation(folder, by_voice, tuning, hop_seconds, bars)
    write_musicxml(folder / SCORE_NAME, title, by_voice, bars)
    for voice, notes in by_voice.items():
        write_musicxml(folder / part_score_name(voice), title, {voice: notes}, bars)
    return [folder / name for name in notation_names(list(by_voice))]


def bars_body(bars: Bars) -> BarsBody:
    """As `bars.json` says it."""
    key = bars.key and KeyBody(
        name=bars.key.name,
        fifths=bars.key.fifths,
        mode="minor" if bars.key.is_minor else "major",
        confidence=round(max(bars.key.sureness, 0.0), 2),
    )
    beats = []
    for place, (seconds, tempo) in enumerate(zip(bars.beats.tolist(), bars.beats_a_minute.tolist(), strict=True)):
        bar, beat = bars.place_of(place)
        beats.append(BeatBody(seconds=round(seconds, 3), bar=bar, beat=beat, beats_a_minute=round(tempo, 1)))
    tempo = bars.usual_tempo
    return BarsBody(
        beats_a_minute=None if tempo is None else round(tempo, 1), beats_a_bar=bars.beats_a_bar, key=key, beats=beats
    )


def write_intonation(
    folder: Path, by_voice: Mapping[str, Sequence[Note]], tuning: Tuning, hop_seconds: float, bars: Bars
) -> list[Path]:
    """Writes both files of intonation; gives their paths.

    Args:
        by_voice: notes of each voice by its name, highest voice first.
        tuning: where their keys lie; `hop_seconds` from one of its frames to the next.
        bars: of the piece; notes before the first beat have no bar.
    """
    of_voices: dict[str, list[float]] = {voice: [] for voice in by_voice}
    of_bars: dict[int, list[float]] = defaultdict(list)
    with (folder / CSV_NAME).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for voice, notes in by_voice.items():
            for note in notes:
                cents = deviation_cents(note, tuning, hop_seconds)
                of_voices[voice].append(cents)
                bar, beat = _place_of(note, bars)
                if bar is not None:
                    of_bars[bar].append(cents)
                times = f"{note.start_seconds:.3f}", f"{note.end_seconds:.3f}"
                rows.writerow([voice, *times, bar, beat, note.key, f"{note.f0_hz:.2f}", f"{cents:.1f}"])
    document = {
        "a4_hz": round(tuning.a4_hz, 2),
        "drift_cents": round(drift_cents(tuning), 1),
        "voices": {voice: _summary(cents) for voice, cents in of_voices.items()},
        "bars": [{"bar": bar, **_summary(of_bars[bar])} for bar in sorted(of_bars)],
        "intervals": _intervals(list(by_voice.values())),
    }
    (folder / JSON_NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
    return [folder / name for name in INTONATION_NAMES]


def _place_of(note: Note, bars: Bars) -> tuple[int | None, int | None]:
    """The bar and the beat that a note begins in, half a beat early at most."""
    if len(bars.beats) < 2:
        return None, None
    reach = 0.5 * float(np.median(np.diff(bars.beats)))
    place = int(np.searchsorted(bars.beats, note.start_seconds + reach / 2, side="right")) - 1
    return bars.place_of(place) if place >= 0 else (None, None)


def _summary(cents: Sequence[float]) -> dict[str, Any]:
    """Median, with its sign, and median size; null where nothing was sung."""
    size = typical(cents)
    return {
        "notes": len(cents),
        "median_cents": None if size is None else round(float(np.median(cents)), 1),
        "typical_cents": None if size is None else round(size, 1),
    }


def _intervals(voices: Sequence[Sequence[Note]]) -> dict[str, dict[str, Any]]:
    """By kind: how many, and how far from equal and from just, the median size in cents."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _CALLED.values()}
    for interval in intervals(voices):
        found[_CALLED[(interval.semitones - 1) % 12 + 1]].append((interval.from_equal, interval.from_just))
    summaries = {}
    for name, pairs in found.items():
        sizes = [typical([pair[side] for pair in pairs]) for side in (0, 1)]
        equal, just = (None if size is None else round(size, 1) for size in sizes)
        summaries[name] = {"count": len(pairs), "typical_from_equal": equal, "typical_from_just": just}
    return summaries
