"""Pitch tracks and notes as files: `pitch.csv` for tables, `pitch.json` for programs; others by `notation_files`.

    seconds,soprano,alto                {"hop_seconds": 0.032, "num_frames": 2,
    0.000,440.00,                        "tuning": {"a4_hz": 440.5, "cents": 2.0}, "voices": {
    0.032,441.27,329.90                     "soprano": {"f0_hz": [440.00, 441.27], "notes": [
                                                {"start_seconds": 0.0, "end_seconds": 0.064, "midi": 69, "f0_hz": 440.6}
                                            ]}, "alto": {"f0_hz": [0, 329.90], "notes": []}}}

A stem without a pitch there: empty in the table, 0 in JSON. The tracks rest on disk until the tuning of all of them is
known, which the notes need, and JSON wants them one after the other: memory holds the notes, and the level of one stem,
which says when they begin.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from divisi.delivery.notation_files import notation_names, write_notation
from divisi.notation.notes import Note, NoteFinder
from divisi.notation.onsets import LevelMeter, articulated
from divisi.notation.tuning import Tuning, TuningMeter
from divisi.separation.segments import Stems, Tracks

CSV_NAME, JSON_NAME = "pitch.csv", "pitch.json"
_CHUNK_FRAMES = 4096


def pitch_names(voices: Sequence[str]) -> list[str]:
    """Of all files of these voices."""
    return [CSV_NAME, JSON_NAME, *notation_names(voices)]


class PitchFiles:
    """The files being written; a context manager.

    Args:
        folder: where to create or replace them.
        stems: names of the voices, S of them.
        hop_seconds: from one frame to the next.
        sample_rate: of the stems, Hz.
        title: of the scores.
        has_voicing: the model says how sure it is of each pitch.
    """

    def __init__(
        self,
        folder: Path,
        stems: Sequence[str],
        hop_seconds: float,
        sample_rate: int,
        title: str = "",
        *,
        has_voicing: bool,
    ) -> None:
        self._folder, self._title = folder, title
        self._stems = stems
        self._hop_seconds = hop_seconds
        self._columns = ("f0_hz", "voicing") if has_voicing else ("f0_hz",)
        self._num_frames = 0
        self._meter = TuningMeter(len(stems), hop_seconds)
        self._levels = LevelMeter(len(stems), sample_rate)
        with ExitStack() as opened:
            table = opened.enter_context((folder / CSV_NAME).open("w", newline="", encoding="ascii"))
            # float32 (frames, columns, S), as they come.
            self._spool = opened.enter_context(TemporaryFile(dir=folder))
            # float32 (steps, 1, S), power of the stems.
            self._powers = opened.enter_context(TemporaryFile(dir=folder))
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

    def write_stems(self, stems: Stems) -> None:
        """Takes the next samples, float32 (S, C, n), or one stem more; the pitch tracks are ahead of them."""
        self._powers.write(self._levels.push(stems[: len(self._stems)]).T.astype("<f4").tobytes())

    def finish(self) -> list[Path]:
        """Closes the table, writes the others; gives the paths of all."""
        tuning = self._meter.finish()
        by_voice = {stem: self._find_notes(place, tuning) for place, stem in enumerate(self._stems)}
        with (self._folder / JSON_NAME).open("w", encoding="ascii") as file:
            self._write_json(file, tuning, by_voice)
        notation = write_notation(self._folder, self._title, by_voice, tuning, self._hop_seconds)
        self._opened.close()
        return [self._folder / CSV_NAME, self._folder / JSON_NAME, *notation]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _find_notes(self, place: int, tuning: Tuning) -> list[Note]:
        finder = NoteFinder(self._hop_seconds, tuning)
        notes = [note for chunk in self._tracks(0, place) for note in finder.push(chunk)]
        power = np.concatenate(
            [np.zeros(0, np.float32), *(chunk[:, 0, place] for chunk in self._spooled(self._powers, 1))]
        )
        return articulated([*notes, *finder.finish()], power, self._levels.hop_seconds)

    def _write_json(self, file: TextIO, tuning: Tuning, by_voice: Mapping[str, Sequence[Note]]) -> None:
        tuning_body = {"a4_hz": round(tuning.a4_hz, 2), "cents": round(tuning.cents, 1)}
        file.write(f'{{"hop_seconds": {self._hop_seconds}, "num_frames": {self._num_frames}, ')
        file.write(f'"tuning": {json.dumps(tuning_body)}, "voices": {{')
        for place, (stem, notes) in enumerate(by_voice.items()):
            file.write(f"{', ' if place else ''}{json.dumps(stem)}: {{")
            for column, name in enumerate(self._columns):
                file.write(f'"{name}": [')
                for number, chunk in enumerate(self._tracks(column, place)):
                    file.write(
                        (", " if number else "")
                        + ", ".join(f"{value:.4g}" if column else _hz(value) for value in chunk.tolist())
                    )
                file.write("], ")
            file.write(f'"notes": {json.dumps([self._note_body(note) for note in notes])}}}')
        file.write("}}\n")

    def _tracks(self, column: int, place: int) -> Iterator[NDArray[np.float32]]:
        """One track again, some thousand frames at a time."""
        return (chunk[:, column, place] for chunk in self._spooled(self._spool, len(self._columns)))

    def _spooled(self, spool: IO[bytes], num_columns: int) -> Iterator[NDArray[np.float32]]:
        """What rests on disk, float32 (at most some thousand frames, columns, S) at a time."""
        spool.seek(0)
        while data := spool.read(_CHUNK_FRAMES * num_columns * len(self._stems) * 4):
            yield np.frombuffer(data, "<f4").reshape(-1, num_columns, len(self._stems))

    def _note_body(self, note: Note) -> dict[str, float]:
        return {
            "start_seconds": round(note.start_seconds, 4),
            "end_seconds": round(note.end_seconds, 4),
            "midi": note.key,
            "f0_hz": round(note.f0_hz, 2),
        }


def _hz(pitch: float) -> str:
    return f"{pitch:.2f}" if pitch else "0"
