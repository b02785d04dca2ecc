"""What accompanies a choir: pianos, organs, strings and others that play with its notes, a mains hum, applause.

    python -m divisi_workshop.choirs.accompaniments --data DATA --guests CACHE/guests --fonts A.sf2 B.sf2 \\
        --out CACHE/accompaniments

Notes are those that a choir sings, heard from its parts; an arrangement doubles them, holds or breaks their chords, or
adds a bass. Soundfonts play through fluidsynth, one run a font, besides instruments of added sines that belong to no
font. Every choir gets one file, `<choir>_accompaniment.flac`, each channel one accompaniment in step with the singers.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyworld
import soundfile
from mido import Message, MidiFile, MidiTrack
from scipy.signal import lfilter
from tqdm import tqdm

from divisi.notation.notes import NoteFinder
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, VOICES
from divisi_workshop.choirs.world_voices import VOICE_RANGES_HZ

PROGRAMS = {
    "piano": (0, 0, 0, 0, 1, 1, 2, 3, 4, 5),
    "organ": (16, 18, 19, 19, 19, 20, 20, 21, 22),
    "strings": (40, 41, 42, 44, 48, 48, 49, 50, 51),
    "others": (6, 8, 11, 24, 25, 32, 46, 46, 60, 61, 68, 71, 73, 75),
}
"""Programs of General MIDI, from 0."""
KIND_SHARES = (0.52, 0.24, 0.12, 0.12)
TICKS_A_SECOND = 960
TAIL_SECONDS = 2.5
"""In which a piece dies away before the next begins."""
SINE_SHARE = 0.25
SHORTEST_SECONDS = 0.08
RECORDED_PLAYS, GUEST_PLAYS = 8, 4
"""FLAC holds no more than eight channels."""
RECORDED = "nino_dios"


@dataclass(frozen=True)
class Played:
    """One note of an instrument, in seconds; `velocity` 1 to 127."""

    start: float
    end: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Piece:
    """What one instrument plays beside a choir of so many seconds."""

    program: int
    notes: tuple[Played, ...]
    seconds: float


Sung = list[tuple[float, float, int]]
"""Start and end in seconds, and key."""


def sung_notes(samples: np.ndarray, voice: str) -> Sung:
    """What one singer sings. Shape: (T,) int16 or float."""
    signal = samples.astype(np.float64)
    signal = signal / max(float(np.abs(signal).max()), 1e-9)
    low_hz, high_hz = VOICE_RANGES_HZ[voice]
    f0_hz, _ = pyworld.dio(signal, SAMPLE_RATE, f0_floor=low_hz, f0_ceil=high_hz, frame_period=1000 * LABEL_HOP_SECONDS)
    finder = NoteFinder(LABEL_HOP_SECONDS)
    notes = [*finder.push(f0_hz.astype(np.float32)), *finder.finish()]
    return [(note.start_seconds, note.end_seconds, note.key) for note in notes]


def doubled(rng: np.random.Generator, parts: Sequence[Sung]) -> Sung:
    """Note by note with the singers: all parts, or some; bass or treble in octaves at times."""
    kept = [part for part in parts if rng.random() < 0.85] or list(parts)
    notes = [note for part in kept for note in part]
    if rng.random() < 0.4:
        notes += [(start, end, key - 12) for start, end, key in parts[-1]]
    if rng.random() < 0.15:
        notes += [(start, end, key + 12) for start, end, key in parts[0]]
    return notes


def chords(rng: np.random.Generator, parts: Sequence[Sung]) -> Sung:
    """What sounds together, struck or held from one beat to the next, with a bass an octave down at times."""
    beat = float(rng.uniform(0.5, 1.6))
    has_octaves = rng.random() < 0.5
    notes: Sung = []
    for start in np.arange(0, _last(parts), beat):
        keys = _keys_at(parts, start + 0.3 * beat)
        notes += [(start, start + beat, key) for key in keys]
        if keys and has_octaves:
            notes.append((start, start + beat, min(keys) - 12))
    return notes


def broken(rng: np.random.Generator, parts: Sequence[Sung]) -> Sung:
    """Chords one note after the other, up, or up and down, or with the bass alone on the beat."""
    step = float(rng.uniform(0.12, 0.35))
    count = int(rng.choice([3, 4, 6, 8]))
    ring = float(rng.uniform(0.9, 4.0))
    notes: Sung = []
    for start in np.arange(0, _last(parts), step * count):
        keys = _keys_at(parts, start + 0.1)
        if keys:
            order = sorted(keys) if rng.random() < 0.7 else rng.permutation(keys).tolist()
            for place in range(count):
                begins = start + place * step
                notes.append((begins, begins + ring * step, int(order[place % len(order)])))
    return notes


def _last(parts: Sequence[Sung]) -> float:
    return max((part[-1][1] for part in parts if part), default=0.0)


def _keys_at(parts: Sequence[Sung], second: float) -> list[int]:
    return [key for part in parts for start, end, key in part if start <= second < end]


ARRANGEMENTS: tuple[tuple[Callable[[np.random.Generator, Sequence[Sung]], Sung], float], ...] = (
    (doubled, 0.6),
    (chords, 0.22),
    (broken, 0.18),
)


def arrange(rng: np.random.Generator, parts: Sequence[Sung], seconds: float) -> Piece:
    """One accompaniment for the notes of a choir's parts."""
    kind = list(PROGRAMS)[int(rng.choice(len(PROGRAMS), p=KIND_SHARES))]
    program = int(rng.choice(PROGRAMS[kind]))
    way = int(rng.choice(len(ARRANGEMENTS), p=[share for _, share in ARRANGEMENTS]))
    lateness = rng.normal(0, 0.02)
    loudness = rng.uniform(45, 100)
    length = float(rng.choice([1.0, 1.0, rng.uniform(0.5, 1.2)]))
    notes = []
    for start, end, key in ARRANGEMENTS[way][0](rng, parts):
        begins = max(0.0, start + lateness + rng.normal(0, 0.012))
        ends = min(max(begins + length * (end - start), begins + SHORTEST_SECONDS), seconds + 0.5)
        if 21 <= key <= 108 and begins < min(ends, seconds):
            notes.append(Played(begins, ends, key, int(np.clip(loudness + rng.normal(0, 8), 20, 120))))
    return Piece(program, tuple(notes), seconds)


def play(font: Path, pieces: Sequence[Piece]) -> list[np.ndarray]:
    """All pieces by one run of fluidsynth, without effects of its own. Shape: (T,) each, of the piece's seconds."""
    track = MidiTrack()
    events: list[tuple[float, int, Message]] = []
    starts = []
    now = 0.0
    for piece in pieces:
        starts.append(now)
        events.append((now, 0, Message("program_change", program=piece.program)))
        for note in piece.notes:
            events.append((now + note.start, 2, Message("note_on", note=note.key, velocity=note.velocity)))
            events.append((now + note.end, 1, Message("note_off", note=note.key)))
        now += piece.seconds + TAIL_SECONDS
    ticks = 0
    for second, _, message in sorted(events, key=lambda event: event[:2]):
        at = round(second * TICKS_A_SECOND)
        track.append(message.copy(time=at - ticks))
        ticks = at
    file = MidiFile(ticks_per_beat=TICKS_A_SECOND // 2, tracks=[track])
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder) / "score.mid", Path(folder) / "sound.wav"
        file.save(score)
        fixed = ("-n", "-i", "-q", "-R", "0", "-C", "0", "-r", str(SAMPLE_RATE), "-F", str(sound))
        subprocess.run(["fluidsynth", *fixed, str(font), str(score)], check=True)
        samples = soundfile.read(sound, dtype="float32", always_2d=True)[0].mean(1)
    samples = np.pad(samples, (0, max(0, round(now * SAMPLE_RATE) - len(samples))))
    return [
        samples[round(start * SAMPLE_RATE) :][: round(piece.seconds * SAMPLE_RATE)]
        for start, piece in zip(starts, pieces, strict=True)
    ]


def play_sines(rng: np.random.Generator, piece: Piece) -> np.ndarray:
    """An instrument of a timbre nobody has: decaying as strings do when struck, or steady as pipes. Shape: (T,)."""
    is_struck = rng.random() < 0.6
    tilt = rng.uniform(0.5, 2.2)
    partials = int(rng.integers(4, 16))
    colour = np.exp(rng.normal(0, 0.6, partials)) * np.arange(1, partials + 1) ** -tilt
    stiffness = 10 ** rng.uniform(-5, -3.3) if is_struck else 0.0
    half_life = rng.uniform(0.3, 1.6)
    detuned = rng.normal(0, 8)
    attack = rng.uniform(0.002, 0.015) if is_struck else rng.uniform(0.02, 0.12)
    total = np.zeros(round(piece.seconds * SAMPLE_RATE), np.float32)
    for note in piece.notes:
        first = round(note.start * SAMPLE_RATE)
        times = np.arange(min(round((note.end - note.start + 0.4) * SAMPLE_RATE), len(total) - first)) / SAMPLE_RATE
        f0_hz = 440 * 2 ** ((note.key - 69 + detuned / 100) / 12)
        envelope = np.minimum(times / attack, 1) * np.minimum(np.exp(-(times - note.end + note.start) / 0.06), 1)
        for number, amplitude in enumerate(colour, start=1):
            partial_hz = number * f0_hz * np.sqrt(1 + stiffness * number**2)
            if partial_hz < 0.45 * SAMPLE_RATE:
                wave = np.sin(2 * np.pi * (partial_hz * times + rng.random())) * amplitude * note.velocity / 127
                if is_struck:
                    wave *= 0.5 ** (times / (half_life * (261 / f0_hz) ** 0.5 / number**0.5))
                total[first : first + len(times)] += (envelope * wave).astype(np.float32)
    return total


def hum(rng: np.random.Generator, length: int) -> np.ndarray:
    """Of the mains, of a fan: a low tone with partials and some noise. Shape: (length,)."""
    base_hz = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(40, 180)])
    times = np.arange(length) / SAMPLE_RATE
    total = np.zeros(length)
    for number in range(1, int(rng.integers(3, 14))):
        total += (
            np.exp(rng.normal(0, 0.8))
            / number ** rng.uniform(0.3, 1.5)
            * np.sin(2 * np.pi * (number * base_hz * times + rng.random()))
        )
    noise = lfilter([1], [1, -rng.uniform(0.8, 0.99)], rng.standard_normal(length))
    noise *= rng.uniform(0, 0.5) * np.std(total) / np.std(noise)
    return (total + noise).astype(np.float32)


def applause(rng: np.random.Generator, length: int) -> np.ndarray:
    """Many hands, each clap a burst of coloured noise. Shape: (length,)."""
    total = np.zeros(length)
    claps = rng.poisson(length / SAMPLE_RATE * 10 ** rng.uniform(1.0, 2.3))
    burst = round(0.03 * SAMPLE_RATE)
    fade = np.exp(-np.arange(burst) / (rng.uniform(0.002, 0.007) * SAMPLE_RATE))
    for start in rng.integers(0, max(length - burst, 1), claps):
        total[start : start + burst] += fade * rng.standard_normal(burst) * np.exp(rng.normal(0, 0.6))
    pole = rng.uniform(0.2, 0.8)
    return lfilter([1, -0.9], [1, -pole], total).astype(np.float32)


def accompany(
    rng: np.random.Generator, choirs: dict[str, tuple[list[Sung], float]], fonts: Sequence[Path], plays: dict[str, int]
) -> dict[str, list[np.ndarray]]:
    """So many accompaniments for every choir, at equal loudness. Shape: (T,) each."""
    waiting: list[tuple[str, Piece, Path | None]] = []
    for name, (parts, seconds) in choirs.items():
        for _ in range(plays[name]):
            piece = arrange(rng, parts, seconds)
            font = None if rng.random() < SINE_SHARE else fonts[int(rng.integers(len(fonts)))]
            waiting.append((name, piece, font))
    played: dict[str, list[np.ndarray]] = {name: [] for name in choirs}
    for font in (*fonts, None):
        mine = [(name, piece) for name, piece, chosen in waiting if chosen == font]
        pieces = [piece for _, piece in mine]
        sounds = [play_sines(rng, piece) for piece in pieces] if font is None else play(font, pieces)
        for (name, _), sound in zip(mine, sounds, strict=True):
            loudness = float(np.sqrt(np.mean(sound**2)))
            if loudness > 1e-6:
                played[name].append(np.clip(0.06 / loudness * sound, -0.99, 0.99))
    return played


def guest_parts(folder: Path) -> dict[str, tuple[list[Sung], float]]:
    """What every choir of `guest_choirs` sings, and for how long."""
    choirs = {}
    for path in tqdm(sorted(folder.glob("choir_*_bass.flac")), desc="listening", mininterval=20):
        name = path.name.removesuffix("_bass.flac")
        parts = []
        for voice in VOICES:
            takes, _ = soundfile.read(folder / f"{name}_{voice}.flac", dtype="int16", always_2d=True)
            parts.append(sung_notes(takes[:, 0], voice))
        choirs[name] = parts, len(takes) / SAMPLE_RATE
    return choirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds nino_dios/; singer 1 gives its notes")
    parser.add_argument("--guests", type=Path, required=True)
    parser.add_argument("--fonts", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    choirs = guest_parts(given.guests)
    recorded = [soundfile.read(given.data / "nino_dios" / f"{voice}_1.flac", dtype="int16")[0] for voice in VOICES]
    seconds = min(map(len, recorded)) / SAMPLE_RATE
    choirs[RECORDED] = (
        [sung_notes(part, voice) for part, voice in zip(recorded, VOICES, strict=True)],
        seconds,
    )
    plays = {name: RECORDED_PLAYS if name == RECORDED else GUEST_PLAYS for name in choirs}
    given.out.mkdir(parents=True, exist_ok=True)
    for name, sounds in accompany(np.random.default_rng(given.seed), choirs, given.fonts, plays).items():
        if sounds:
            soundfile.write(given.out / f"{name}_accompaniment.flac", np.stack(sounds, 1), SAMPLE_RATE)


if __name__ == "__main__":
    main()
