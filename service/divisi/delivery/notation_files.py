"""What singers could read of the notes that were found, as files: `notes.mid`, `bars.json`, and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from divisi.contract.manifest import BarsBody, BeatBody, KeyBody
from divisi.delivery.intonation_files import INTONATION_NAMES, write_intonation
from divisi.notation.bars import Bars, find_bars
from divisi.notation.midi_file import write_midi
from divisi.notation.musicxml import write_musicxml
from divisi.notation.notes import Note
from divisi.notation.tuning import Tuning

MIDI_NAME, BARS_NAME, SCORE_NAME = "notes.mid", "bars.json", "score.musicxml"


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
