"""Pitch tracks and notes as files: `pitch.csv` for tables, `pitch.json` for programs, `notes.mid` for score editors.

    seconds,soprano,alto                {"hop_seconds": 0.032, "num_frames": 2,
    0.000,440.00,                        "tuning": {"a4_hz": 440.5, "cents": 2.0}, "voices": {
    0.032,441.27,329.90                     "soprano": {"f0_hz": [440.00, 441.27], "notes": [
                                                {"start_seconds": 0.0, "end_seconds": 0.064, "midi": 69, "f0_hz": 440.6}
                                            ]}, "alto": {"f0_hz": [0, 329.90], "notes": []}}}

A stem without a pitch there: empty in the table, 0 in JSON. The tracks rest on disk until the tuning of all of them is
known, which the notes need, and JSON wants them one after the other: memory holds the notes alone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self, TextIO

import numpy as np
from numpy.typing import NDArray

from divisi.notation.midi_file import write_midi
from divisi.notation.notes import Note, NoteFinder
from divisi.notation.tuning import Tuning, TuningMeter
from divisi.separation.segments import Tracks

PITCH_NAMES = CSV_NAME, JSON_NAME, MIDI_NAME = "pitch.csv", "pitch.json", "notes.mid"
_CHUNK_FRAMES = 4096


class PitchFiles:
    """The three files being written; a context manager.

    Args:
        folder: where to create or replace them.
        stems: names of the voices, S of them.
        hop_seconds: from one frame to the next.
        has_voicing: the model says how sure it is of each pitch.
    """

    def __init__(self, folder: Path, stems: Sequence[str], hop_seconds: float, *, has_voicing: bool) -> None:
        self._folder = folder
        self._stems = stems
        self._hop_seconds = hop_seconds
        self._columns = ("f0_hz", "voicing") if has_voicing else ("f0_hz",)
        self._num_frames = 0
        self._meter = TuningMeter(len(stems), hop_seconds)
        with ExitStack() as opened:
            table = opened.enter_context((folder / CSV_NAME).open("w", newline="", encoding="ascii"))
            # float32 (frames, columns, S), as they come.
            self._spool = opened.enter_context(TemporaryFile(dir=folder))
            self._opened = opened.pop_all()
        self._rows = csv.writer(table, lineterminator="\n")
        self._rows.writerow(["seconds", *stems])

    def write(self, f0_hz: Tracks, voicing: Tracks | None) -> None:
        """Appends float32 (S, N) each: Hz, 0 where unvoiced, and 0..1."""
        # Of an accompaniment, the last stem, there is no pitch.
        f0_hz = f0_hz[: len(self._stems)]
        voicing = None if voicing is None else voicing[: len(self._stems)]
        tracks = [f0_hz] if voicing is None else [f0_hz, voicing]
        self._spool.write(np.stack(tracks).transpose(2, 0, 1).astype("<f4").tobytes())
        for frame in f0_hz.T.tolist():
            seconds = self._num_frames * self._hop_seconds
            self._rows.writerow([f"{seconds:.3f}", *(f"{pitch:.2f}" if pitch else "" for pitch in frame)])
            self._num_frames += 1
        self._meter.push(f0_hz, voicing)

    def finish(self) -> list[Path]:
        """Closes the table, writes the other two; gives the paths of all."""
        tuning = self._meter.finish()
        by_voice = {stem: self._find_notes(place, tuning) for place, stem in enumerate(self._stems)}
        with (self._folder / JSON_NAME).open("w", encoding="ascii") as file:
            self._write_json(file, tuning, by_voice)
        write_midi(self._folder / MIDI_NAME, by_voice, self._hop_seconds, tuning.cents)
        self._opened.close()
        return [self._folder / name for name in PITCH_NAMES]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _find_notes(self, place: int, tuning: Tuning) -> list[Note]:
        finder = NoteFinder(self._hop_seconds, tuning)
        notes = [note for chunk in self._spooled(0, place) for note in finder.push(chunk)]
        return [*notes, *finder.finish()]

    def _write_json(self, file: TextIO, tuning: Tuning, by_voice: Mapping[str, Sequence[Note]]) -> None:
        tuning_body = {"a4_hz": round(tuning.a4_hz, 2), "cents": round(tuning.cents, 1)}
        file.write(f'{{"hop_seconds": {self._hop_seconds}, "num_frames": {self._num_frames}, ')
        file.write(f'"tuning": {json.dumps(tuning_body)}, "voices": {{')
        for place, (stem, notes) in enumerate(by_voice.items()):
            file.write(f"{', ' if place else ''}{json.dumps(stem)}: {{")
            for column, name in enumerate(self._columns):
                file.write(f'"{name}": [')
                for number, chunk in enumerate(self._spooled(column, place)):
                    file.write(
                        (", " if number else "")
                        + ", ".join(f"{value:.4g}" if column else _hz(value) for value in chunk.tolist())
                    )
                file.write("], ")
            file.write(f'"notes": {json.dumps([self._note_body(note) for note in notes])}}}')
        file.write("}}\n")

    def _spooled(self, column: int, place: int) -> Iterator[NDArray[np.float32]]:
        """One track again from disk, some thousand frames at a time."""
        shape = (len(self._columns), len(self._stems))
        self._spool.seek(0)
        while data := self._spool.read(_CHUNK_FRAMES * shape[0] * shape[1] * 4):
            yield np.frombuffer(data, "<f4").reshape(-1, *shape)[:, column, place]

    def _note_body(self, note: Note) -> dict[str, float]:
        return {
            "start_seconds": round(note.start * self._hop_seconds, 4),
            "end_seconds": round(note.end * self._hop_seconds, 4),
            "midi": note.key,
            "f0_hz": round(note.f0_hz, 2),
        }


def _hz(pitch: float) -> str:
    return f"{pitch:.2f}" if pitch else "0"
