"""How many notes are found: F1 of `pitch.json`'s notes, from the stems of a model and from the true sources.

    python benchmarks/notes.py --data DATA --cache CACHE [--model chorus] [--choirs measured|chosen_on]

A note is right where it begins within 50 ms and lies within half a semitone of a true one (mir_eval); with offsets, it
also ends within 50 ms or a fifth of its length. Means over voices.

- synthetic choirs: `scored_choirs`, whose notes are known. Constants were chosen on `chosen_on`.
- Niño Dios, singer 4: nobody wrote down what was sung, so the true sources are segmented, by other means than the
  service's: the pitch of the single singer every 5 ms (Harvest), median over 0.15 s, rounded to keys at the singer's
  own tuning with hysteresis; a note ends where pitch or sound stop, or where the level dips by 9 dB, and begins
  where its vowel has opened to 10 dB below its level.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mir_eval
import numpy as np
import scored_choirs
from flagship import VOICES, separate
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import median_filter
from scored_choirs import OPEN_DB
from tqdm import tqdm

from divisi.delivery.pitch_files import PitchFiles
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import load_settings
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, load_nino_dios, save_arrays
from divisi_workshop.choirs.world_voices import frame_levels

TrueNotes = Sequence[tuple[float, float, float]]
"""Start and end in seconds, fractional MIDI number."""
BARS = {"Niño Dios, singer 4, stems": 0.5, "synthetic choirs, stems": 0.6}
QUARTERS = 24
ONSET_SECONDS = 0.05
MEDIAN_FRAMES, SHORTEST_FRAMES = 31, 20
HYSTERESIS, DIP_DB, SIDE_FRAMES = 0.65, 9.0, 40


@dataclass(frozen=True)
class Piece:
    """Sources (4, T), their pitch every 5 ms (4, L), and the notes of each voice."""

    name: str
    sources: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    notes: Sequence[TrueNotes]


def files_of(f0_hz: NDArray[np.float32], hop_seconds: float, stems: NDArray[np.float32], folder: Path) -> dict:
    """What the service writes of pitch tracks (4, N) and stems (4, T), in a folder; the content of `pitch.json`."""
    with PitchFiles(folder, VOICES, hop_seconds, SAMPLE_RATE, has_voicing=False) as files:
        files.write(f0_hz, None)
        files.write_stems(stems[:, None])
        files.finish()
    return dict(json.loads((folder / "pitch.json").read_text()))


def from_stems(separator: Separator, piece: Piece, cache: Path, folder: Path) -> dict:
    """Of the sum of the sources, as a worker separates it; separated once."""
    path = cache / f"stems_{separator.card.id}_{separator.card.version}" / f"{piece.name}.npz"
    if not path.exists():
        result = separate(separator, piece.sources.sum(0), None)
        save_arrays(path, stems=result.estimates.astype(np.float16), f0_hz=result.f0_hz)
    kept = np.load(path)
    return files_of(kept["f0_hz"], separator.f0_hop_seconds or 0.0, kept["stems"].astype(np.float32), folder)


def from_sources(piece: Piece, folder: Path) -> dict:
    """Of each source by itself, with its own pitch."""
    return files_of(piece.f0_hz, LABEL_HOP_SECONDS, piece.sources, folder)


def scores(true: Sequence[TrueNotes], content: dict) -> NDArray[np.float64]:
    """Precision, recall, F1, and F1 with offsets, of each voice. Shape: (4, 4)."""
    shift = content["tuning"]["cents"] / 100
    rows = []
    for voice, notes in zip(VOICES, true, strict=True):
        found = [
            (note["start_seconds"], note["end_seconds"], note["midi"] + shift)
            for note in content["voices"][voice]["notes"]
        ]
        rows.append(score(notes, found))
    return np.array(rows)


def score(true: TrueNotes, found: TrueNotes) -> tuple[float, float, float, float]:
    """As `scores`, of one voice."""
    if not true or not found:
        return (0.0,) * 4
    compared = []
    for notes in (true, found):
        spans = np.array(notes)
        compared += [spans[:, :2], 440 * 2 ** ((spans[:, 2] - 69) / 12)]
    compare = mir_eval.transcription.precision_recall_f1_overlap
    onsets = compare(*compared, onset_tolerance=ONSET_SECONDS, offset_ratio=None)
    both = compare(*compared, onset_tolerance=ONSET_SECONDS, offset_min_tolerance=ONSET_SECONDS)
    return (*onsets[:3], both[2])


def label_notes(samples: NDArray[np.float32], f0_hz: NDArray[np.float32]) -> list[tuple[float, float, float]]:
    """What a single singer sang, see above. Shape: (T,), (L,)."""
    level_db = 20 * np.log10(frame_levels(samples, len(f0_hz), SAMPLE_RATE) + 1e-6)
    sings = f0_hz > 0
    keys = np.where(sings, 69 + 12 * np.log2(np.maximum(f0_hz, 1.0) / 440), 0.0)
    tuning = np.angle(np.exp(2j * np.pi * keys[sings]).sum()) / (2 * np.pi)
    notes = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sings.astype(int), [0]])))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        smooth = median_filter(keys[start:end], MEDIAN_FRAMES, mode="nearest") - tuning
        dips = dips_of(level_db[start:end])
        first, key = 0, round(smooth[0])
        for frame in range(1, end - start + 1):
            if frame == end - start or frame in dips or abs(smooth[frame] - key) > HYSTERESIS:
                if frame - first >= SHORTEST_FRAMES:
                    notes.append((start + first, start + frame, float(np.median(keys[start + first : start + frame]))))
                first = frame
                key = round(smooth[min(frame, end - start - 1)])
    return [(opened(level_db, start, end), end * LABEL_HOP_SECONDS, key) for start, end, key in notes]


def dips_of(level_db: NDArray[np.float64]) -> set[int]:
    """Lowest frames of dips below both sides."""
    found = set()
    for frame in range(2, len(level_db) - 2):
        before, after = level_db[max(0, frame - SIDE_FRAMES) : frame], level_db[frame + 1 : frame + SIDE_FRAMES]
        around = level_db[max(0, frame - 8) : frame + 9]
        if level_db[frame] == around.min() and min(before.max(), after.max()) - level_db[frame] > DIP_DB:
            found.add(frame)
    return found


def opened(level_db: NDArray[np.float64], start: int, end: int) -> float:
    """Seconds at which the vowel of a note has opened."""
    level = level_db[start:end]
    return float((start + np.argmax(level >= level[:SIDE_FRAMES].max() - OPEN_DB)) * LABEL_HOP_SECONDS)


def open_separator(model: str) -> Separator:
    bundle = BundleStore(load_settings().model_store).get(model)
    return Separator(open_engine("onnx_runtime", bundle, EngineOptions("cpu", 1)), bundle.card)


def nino_dios(data: Path, cache: Path) -> Piece:
    """The song by singer 4."""
    parts = [voice[0] for voice in load_nino_dios(data / "nino_dios", cache / "labels" / "nino_dios", (4,)).parts]
    length = min(len(part.f0_hz) for part in parts)
    num_samples = min(len(part.samples) for part in parts)
    sources = np.stack([part.samples[:num_samples] for part in parts]).astype(np.float32) / 32768
    f0_hz = np.stack([part.f0_hz[:length] for part in parts])
    return Piece("nino_dios_4", sources, f0_hz, [label_notes(*row) for row in zip(sources, f0_hz, strict=True)])


def measure(separator: Separator, name: str, pieces: Sequence[Piece], cache: Path) -> dict[str, NDArray[np.float64]]:
    """(4, 4) as `scores`, means over pieces, by row of the table."""
    found: dict[str, list[NDArray[np.float64]]] = {"stems": [], "true sources": []}
    with tempfile.TemporaryDirectory() as folder:
        for piece in tqdm(pieces, desc=name):
            found["stems"].append(scores(piece.notes, from_stems(separator, piece, cache, Path(folder))))
            found["true sources"].append(scores(piece.notes, from_sources(piece, Path(folder))))
    return {f"{name}, {origin}": np.mean(rows, axis=0) for origin, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--choirs", choices=("measured", "chosen_on"), default="measured")
    given = parser.parse_args()
    separator = open_separator(given.model)
    singers = scored_choirs.load_singers(given.data, given.cache)
    pieces = scored_choirs.load_scores(given.choirs, given.data, QUARTERS)
    choirs = scored_choirs.load_choirs(pieces, singers, given.cache / "scored_choirs", waits=False)
    sung = [Piece(choir.name, choir.sources, choir.f0_hz, choir.notes) for choir in choirs]
    rows = measure(separator, "synthetic choirs", sung, given.cache)
    if given.choirs == "measured":
        rows |= measure(separator, "Niño Dios, singer 4", [nino_dios(given.data, given.cache)], given.cache)
    table = Table("", "precision", "recall", "F1", "F1 with offsets", "F1 by voice", "at least")
    for name, row in rows.items():
        voices = " ".join(f"{value:.2f}" for value in row[:, 2])
        table.add_row(name, *(f"{value:.3f}" for value in row.mean(0)), voices, str(BARS.get(name, "")))
    Console(width=120).print(table)
    sys.exit(any(rows[name][:, 2].mean() < bar for name, bar in BARS.items() if name in rows))


if __name__ == "__main__":
    main()
