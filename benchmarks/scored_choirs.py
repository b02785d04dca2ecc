"""Choirs that sing scores note by note, so that every note, beat, bar and key is known: for `notes` and `bars`.

Scores are Bach's chorales with their bars, repeated notes and fermatas, from music21's corpus, all of the `valid` or
`test` split, which no model was trained on, and hymns kept back, of which the beats are known and not the bars.
Singer 4 of Niño Dios sings them by WORLD, a syllable for each note, but for a quarter of those that follow another
pitch: syllables begin at places of the recording where a consonant leads to a vowel. Tempo wanders, slows down towards
the end, and waits on fermatas where that is asked; each singer is early or late by some hundredths of a second.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from music21 import corpus, expressions, stream
from tqdm import tqdm

from divisi_workshop.choirs.melodies import CHAMBER, FRAME_RATE, REST, fits
from divisi_workshop.choirs.world_voices import Singer, recorded_singers, sing

LISTS = Path(__file__).with_suffix(".json")
"""Names of chorales and hymns: those `measured`, of the `valid` split, and those that constants are `chosen_on`."""
SINGER = 4
GRID = 16
"""Steps of a quarter in which the tempo may change."""
LEAD_SECONDS = 0.12
"""What the consonant takes before its note."""
SLURRED_SHARE, SLUR_GAP_SECONDS = 0.25, 0.05
"""Of the notes that could be: sung on the syllable of the note before."""
SYLLABLE_GAP_SECONDS = (0.02, 0.4)
SHORTEST_SYLLABLE_SECONDS = 0.2
OPEN_DB, ATTACK_FRAMES = 10.0, 40
"""A note begins where its vowel has come so near to the level that it reaches within so many label frames."""
NASAL_DIP_DB = 6.0
"""A vowel that falls by so much has met a voiced consonant."""
SILENCE_SECONDS = 0.4
"""Before the first note and after the last."""


@dataclass(frozen=True)
class ScoredNote:
    """Quarters from the start of the excerpt; `midi` as written."""

    start: float
    end: float
    midi: int


@dataclass(frozen=True)
class Score:
    """A stretch of a chorale.

    Attributes:
        voices: notes in score order; ties are one note.
        bars: where each bar begins, quarters; none where it is not known.
        beats: where each beat falls, quarters.
        length: quarters.
        fermatas: ends of notes that are waited on, quarters.
        fifths: of the key signature; None where it is not known.
    """

    name: str
    voices: tuple[tuple[ScoredNote, ...], ...]
    bars: tuple[float, ...]
    beats: tuple[float, ...]
    length: float
    fermatas: tuple[float, ...]
    fifths: int | None


@dataclass(frozen=True)
class ScoredChoir:
    """What was sung, times in seconds.

    Attributes:
        sources: float32 (4, T) at 16 kHz.
        f0_hz: float32 (4, L) on the label grid.
        notes: of each voice, (start, end, fractional MIDI number as sung without deviations).
        beats, bars: moments.
        quarters_a_minute: (beats,) tempo at each beat.
        score: as written.
    """

    name: str
    sources: np.ndarray
    f0_hz: np.ndarray
    notes: tuple[tuple[tuple[float, float, float], ...], ...]
    beats: np.ndarray
    bars: np.ndarray
    quarters_a_minute: np.ndarray
    score: Score
    semitones: int


def load_scores(which: Literal["measured", "chosen_on"], data: Path, quarters: float) -> list[Score]:
    """The first so many quarters of each piece of a list."""
    listed = json.loads(LISTS.read_text())[which]
    hymns = json.loads((data / "hymns" / "satb_notes.json").read_text())
    return [
        *(read_chorale(name, quarters) for name in listed["chorales"]),
        *(read_hymn(name, hymns[name], quarters) for name in listed["hymns"]),
    ]


def read_hymn(name: str, voices: Sequence[Sequence[tuple[float, float, int]]], quarters: float) -> Score:
    """From lists of [start, end, MIDI] in beats, starts a little late."""
    end = min(quarters, max(note[1] for voice in voices for note in voice))
    sung = tuple(
        tuple(
            ScoredNote(round(start * GRID) / GRID, min(round(stop * GRID) / GRID, end), pitch)
            for start, stop, pitch in voice
            if round(start * GRID) / GRID < end
        )
        for voice in voices
    )
    return Score(name, sung, (), tuple(np.arange(0, end).tolist()), end, (), None)


def read_chorale(name: str, quarters: float) -> Score:
    """The first so many quarters, and on to the end of the bar."""
    whole = corpus.parse(f"bach/{name}")
    measures = whole.parts[0].getElementsByClass(stream.Measure)
    bars = [float(bar.offset) for bar in measures]
    end = min([bar for bar in bars if bar >= quarters], default=float(whole.duration.quarterLength))
    voices, fermatas = [], set()
    for part in whole.parts:
        sung = []
        for note in part.flatten().stripTies().notes:
            start, stop = float(note.offset), float(note.offset + note.quarterLength)
            if start < end:
                sung.append(ScoredNote(start, min(stop, end), note.pitches[-1].midi))
            if start < end and any(isinstance(one, expressions.Fermata) for one in note.expressions):
                fermatas.add(min(stop, end))
        voices.append(tuple(sung))
    first = whole.parts[0].recurse().getElementsByClass("TimeSignature")[0]
    unit = float(first.beatDuration.quarterLength)
    beats = np.arange(bars[1] % unit if len(bars) > 1 else 0.0, end - 1e-6, unit)
    signature = whole.parts[0].recurse().getElementsByClass("KeySignature")
    length = float(first.barDuration.quarterLength)
    heads = tuple(bar for bar in whole_bars(bars, length, has_pickup=measures[0].number == 0) if bar < end)
    fifths = signature[0].sharps if signature else 0
    return Score(name, tuple(voices), heads, tuple(beats.tolist()), end, tuple(sorted(fermatas)), fifths)


def whole_bars(measures: Sequence[float], length: float, *, has_pickup: bool) -> list[float]:
    """Where bars of so many quarters begin: phrases end within a bar, which is two measures then."""
    heads: list[float] = []
    for start in measures[1:] if has_pickup else measures:
        if not heads or start - heads[-1] >= length:
            heads.append(start)
    return heads


def draw_tempo(rng: np.random.Generator, score: Score, *, waits: bool) -> np.ndarray:
    """When each step of the grid is sung, seconds (steps + 1,)."""
    steps = round(score.length * GRID)
    wander = np.cumsum(rng.normal(0, 0.012, steps // GRID + 2))
    wander -= np.linspace(0, wander[-1], len(wander))
    pace = np.exp(np.interp(np.arange(steps) / GRID, np.arange(len(wander)), wander))
    slowing = np.clip((np.arange(steps) / GRID - (score.length - 4)) / 4, 0, 1)
    seconds = 60 / rng.uniform(60, 110) / GRID * pace * (1 + rng.uniform(0.1, 0.5) * slowing)
    for end in score.fermatas if waits else ():
        last = slice(max(0, round((end - 1) * GRID)), round(end * GRID))
        seconds[last] *= rng.uniform(1.5, 2.2)
    return np.asarray(SILENCE_SECONDS + np.concatenate([[0], np.cumsum(seconds)]))


def syllables_of(singer: Singer) -> list[tuple[int, int]]:
    """Where vowels begin after a consonant and how far they go on before the next, label frames."""
    is_voiced = np.concatenate([[False], singer.is_voiced, [False]])
    starts = np.flatnonzero(~is_voiced[:-1] & is_voiced[1:])
    ends = np.flatnonzero(is_voiced[:-1] & ~is_voiced[1:])
    shortest, (low, high) = SHORTEST_SYLLABLE_SECONDS * FRAME_RATE, (s * FRAME_RATE for s in SYLLABLE_GAP_SECONDS)
    level_db = 10 * np.log10(np.exp(singer.log_envelope).mean(axis=1))
    found = []
    for start, end, before in zip(starts, ends, [0, *ends[:-1]], strict=True):
        level = level_db[start:end]
        falls = np.flatnonzero(level < np.maximum.accumulate(level) - NASAL_DIP_DB)
        stop = start + int(falls[0]) if len(falls) else end
        vowel = start + int(np.argmax(level > level[:ATTACK_FRAMES].max() - OPEN_DB))
        if stop - vowel >= shortest and low <= start - before <= high:
            found.append((int(vowel), int(stop)))
    return found


def sing_part(
    rng: np.random.Generator, singer: Singer, notes: Sequence[tuple[float, float, float]], frame_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """One voice: notes (start, end, MIDI) in seconds. Shape: -> samples (T,), F0 (frame_count,)."""
    syllables = syllables_of(singer)
    midi, positions, gain = np.full(frame_count, float(REST)), np.zeros(frame_count), np.ones(frame_count)
    for run in syllabled(rng, notes):
        begin, first, last = (round(t * FRAME_RATE) for t in (run[0][0] - LEAD_SECONDS, run[0][0], run[-1][1]))
        begin = max(0, begin)
        vowel, stop = syllables[int(rng.integers(len(syllables)))]
        if begin and midi[begin - 1] == REST:
            midi[begin:first] = run[0][2]
        for start, end, pitch in run:
            midi[round(start * FRAME_RATE) : round(end * FRAME_RATE)] = pitch
        positions[first:last] = vowel + np.arange(last - first) * min(1.0, 0.9 * (stop - vowel) / (last - first))
        positions[begin:first] = vowel - np.arange(first - begin, 0, -1)
    return sing(rng, singer, midi, positions, gain, CHAMBER)


def syllabled(
    rng: np.random.Generator, notes: Sequence[tuple[float, float, float]]
) -> list[list[tuple[float, float, float]]]:
    """Notes that share a syllable: some of those that follow another pitch without a rest."""
    runs: list[list[tuple[float, float, float]]] = []
    for note in notes:
        is_free = not runs or runs[-1][-1][2] == note[2] or note[0] - runs[-1][-1][1] > SLUR_GAP_SECONDS
        if is_free or rng.random() >= SLURRED_SHARE:
            runs.append([note])
        else:
            runs[-1].append(note)
    return runs


def make_choir(name: str, score: Score, singers: Sequence[Singer], seed: int, *, waits: bool = False) -> ScoredChoir:
    """Sings a score; `waits` on its fermatas."""
    rng = np.random.default_rng(seed)
    when = draw_tempo(rng, score, waits=waits)
    grid = np.arange(len(when)) / GRID
    semitones, cents = draw_transposition(rng, score), rng.uniform(-40, 40)
    frame_count = round((when[-1] + SILENCE_SECONDS) * FRAME_RATE)
    sung, tracks, notes = [], [], []
    for voice, singer in zip(score.voices, singers, strict=True):
        late = rng.normal(0, 0.012)
        starts = np.interp([note.start for note in voice], grid, when) + late + rng.normal(0, 0.012, len(voice))
        ends = np.interp([note.end for note in voice], grid, when) + late
        pitches = [note.midi + semitones + cents / 100 for note in voice]
        ends[:-1] = np.minimum(ends[:-1], starts[1:])
        ends = np.where(np.append(np.diff(starts) - (ends - starts)[:-1] < 0.06, False), np.append(starts[1:], 0), ends)
        part = tuple(zip(starts.tolist(), ends.tolist(), pitches, strict=True))
        samples, f0_hz = sing_part(rng, singer, part, frame_count)
        sung.append(samples)
        tracks.append(f0_hz)
        notes.append(part)
    samples = np.stack(sung)
    beats, bars = (np.interp(moments, grid, when) for moments in (score.beats, score.bars))
    tempo = 60 / GRID / np.gradient(when)[np.round(np.array(score.beats) * GRID).astype(int)]
    samples *= 0.9 / max(float(np.abs(samples.sum(0)).max()), 1e-9)
    return ScoredChoir(name, samples, np.stack(tracks), tuple(notes), beats, bars, tempo, score, semitones)


def draw_transposition(rng: np.random.Generator, score: Score) -> int:
    """Up to three semitones, such that throats can sing it."""
    for semitones in (int(rng.integers(-3, 4)), 0, -1, -2, -3, 1, 2, 3):
        lowest, highest = (np.array([[pick(n.midi for n in voice)] for voice in score.voices]) for pick in (min, max))
        if fits(np.concatenate([lowest, highest], axis=1) + semitones):
            return semitones
    return 0


def load_singers(data: Path, cache: Path) -> list[Singer]:
    """Singer 4, taken apart."""
    found = recorded_singers(data / "nino_dios", cache / "labels" / "nino_dios", (SINGER,))
    return [singer for (singer,) in found]


def load_choirs(scores: Sequence[Score], singers: Sequence[Singer], cache: Path, *, waits: bool) -> list[ScoredChoir]:
    """A choir for each score, from a seed that follows from its name; sung once."""
    choirs = []
    for score in tqdm(scores, desc="singing"):
        name = f"{'waiting' if waits else 'steady'}_{round(score.length)}_{score.name}"
        path = cache / f"{name}.pickle"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = zlib.crc32(score.name.encode())
            save_whole(path, pickle.dumps(make_choir(name, score, singers, seed, waits=waits)))
        choirs.append(pickle.loads(path.read_bytes()))
    return choirs


def save_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
