"""The recordings of `real_choirs`: what people bring, made from voices whose true parts are known."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import soundfile
import soxr
from flagship import VOICES, load_choirs
from mido import MidiFile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from divisi.notation.bars import NO_BARS
from divisi.notation.midi_file import write_midi
from divisi.notation.notes import Note, NoteFinder
from divisi_workshop.choirs.shoebox_rooms import Shoebox, shoebox_responses
from divisi_workshop.choirs.world_voices import VOICE_RANGES_HZ, label_f0

SAMPLE_RATE = 16_000
SONG_SECONDS = (30, 50)
SINGERS = 4
ROOM_SEEDS = 4
ROOMS = {"0.6 s": (0.6, 2.5, (9.0, 8.0, 4.0)), "1.8 s": (1.8, 5.0, (16.0, 13.0, 7.5))}
"""Decay time in seconds, distance and mean size in metres."""
GROUPS = (
    "dry",
    "pairs",
    "SAB",
    "stereo",
    "rooms",
    "sections",
    "sections in rooms",
    "soloist",
    "guests",
    "transposed",
    "noise",
    "mp3",
    "accompaniment",
    "chorales",
)
PANNED_DEGREES = (-36.0, -12.0, 12.0, 36.0)
"""From left to right, of 45 on either side."""
SOLOIST_DB = 6.0
"""Above the part to which the soloist belongs."""
SEMITONES = (-5, 5)
NOISE_DB = (-20, -10)
"""Of pink noise against the choir."""
MP3_BITS = 96_000
ACCOMPANIMENT_DB = (-12, -6, 0)
INSTRUMENTS = {"piano": 0, "organ": 19}
"""Programs of General MIDI; the organ is a church organ."""
EVERYBODY = tuple(range(len(VOICES)))


@dataclass(frozen=True)
class Case:
    """One recording: true parts (4, T), who sings, and what else is in it, an accompaniment or noise (T,).

    `mixture`, (T,) or (2, T), is given where the recording is not the sum of these; of two channels, the first counts.
    """

    condition: str
    sources: NDArray[np.float32]
    sings: tuple[int, ...] = EVERYBODY
    other: NDArray[np.float32] | None = None
    mixture: NDArray[np.float32] | None = None

    @property
    def everything(self) -> NDArray[np.float32]:
        """The parts, and the rest where there is some. Shape: (4 or 5, T)."""
        return self.sources if self.other is None else np.concatenate([self.sources, self.other[None]])

    @property
    def recording(self) -> NDArray[np.float32]:
        """Shape: (T,) or (2, T)."""
        return self.everything.sum(0) if self.mixture is None else self.mixture


def draw_room(seed: int, decay_seconds: float, distance: float, mean_size: tuple[float, ...]) -> Shoebox:
    """Sixteen singers in an arc, part by part from left to right, four to a part."""
    rng = np.random.default_rng((seed, round(10 * decay_seconds)))
    size = np.array(mean_size) * rng.uniform(0.85, 1.15, 3)
    microphone = np.array([size[0] * rng.uniform(0.42, 0.58), size[1] * rng.uniform(0.15, 0.25), rng.uniform(1.4, 1.8)])
    count = len(VOICES) * SINGERS
    angles = np.pi / 2 + np.linspace(0.6, -0.6, count) + rng.uniform(-0.03, 0.03, count)
    radii = distance * rng.uniform(0.93, 1.07, count)
    places = microphone + np.stack([radii * np.cos(angles), radii * np.sin(angles), rng.uniform(-0.2, 0.2, count)], 1)
    return Shoebox(size, decay_seconds, microphone, places)


def responses(cache: Path, room: str, seed: int) -> NDArray[np.float32]:
    """Of one room, (4, SINGERS, taps); computed once."""
    path = cache / "bench_rooms" / f"{room.replace(' ', '')}_{seed}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, shoebox_responses(draw_room(seed, *ROOMS[room])))
    stored: NDArray[np.float32] = np.load(path)
    return stored.reshape(len(VOICES), SINGERS, -1)


def in_room(takes: NDArray[np.float32], heard: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each part sounds like there. Shape: (4, M, T) and (4, SINGERS, taps) -> (4, T)."""
    wet = fftconvolve(takes, heard[:, : takes.shape[1]], axes=2)[:, :, : takes.shape[2]]
    return np.asarray(wet.sum(1), np.float32)


def load_takes(data: Path, singers: Sequence[int], song_seconds: tuple[int, int] = SONG_SECONDS) -> NDArray[np.float32]:
    """Shape: (4, M, T)."""
    first, last = (second * SAMPLE_RATE for second in song_seconds)
    rows = [
        [
            soundfile.read(data / "nino_dios" / f"{voice}_{singer}.flac", dtype="float32")[0][first:last]
            for singer in singers
        ]
        for voice in VOICES
    ]
    return np.array(rows, np.float32)


def load_guests(folder: Path) -> list[NDArray[np.float32]]:
    """First take of every part, (4, 1, T) for each choir."""
    choirs = []
    for path in sorted(folder.glob("choir_*_bass.flac")):
        name = path.name.removesuffix("_bass.flac")
        rows = [
            soundfile.read(folder / f"{name}_{voice}.flac", dtype="float32", always_2d=True)[0][:, :1].T
            for voice in VOICES
        ]
        choirs.append(np.array(rows, np.float32))
    return choirs


def taped(sources: NDArray[np.float32], semitones: int) -> NDArray[np.float32]:
    """Faster and higher, or slower and lower. Shape: (4, T) -> (4, T')."""
    ratio = 2 ** (semitones / 12)
    return np.stack([soxr.resample(row, SAMPLE_RATE * ratio, SAMPLE_RATE) for row in sources]).astype(np.float32)


def panned(sources: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between two loudspeakers, part by part from left to right, by level alone. Shape: (4, T) -> (2, 4, T)."""
    angles = np.radians(45.0 + np.array(PANNED_DEGREES))
    return np.stack([gain[:, None] * sources for gain in (np.cos(angles), np.sin(angles))]).astype(np.float32)


def before_choir(soloist: NDArray[np.float32], choir: NDArray[np.float32], part: int) -> NDArray[np.float32]:
    """A soloist (T,), dry, joins a part of a choir (4, T), louder than that part by SOLOIST_DB. Shape: (4, T)."""
    gain = 10 ** (SOLOIST_DB / 20) * np.sqrt(np.mean(choir[part] ** 2) / np.mean(soloist**2))
    joined = choir.copy()
    joined[part] += gain * soloist
    return joined


def at_level(other: NDArray[np.float32], takes: NDArray[np.float32], level_db: float) -> NDArray[np.float32]:
    """So much louder than the sum of the takes (4, M, T). Shape: (T,) -> (T,)."""
    gain = 10 ** (level_db / 20) * np.sqrt(np.mean(takes.sum((0, 1)) ** 2) / np.mean(other**2))
    return np.asarray(gain * other, np.float32)


def pink_noise(length: int, seed: int = 1) -> NDArray[np.float32]:
    """Power falls by 3 dB an octave from 20 Hz on. Shape: (length,)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(length))
    frequencies_hz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies_hz, 20.0)), length).astype(np.float32)


def through_mp3(mixture: NDArray[np.float32], rate: int = 44_100) -> NDArray[np.float32]:
    """Encoded as stereo at MP3_BITS and decoded by ffmpeg. Shape: (T,) -> (T,)."""
    peak = float(np.abs(mixture).max())
    samples = soxr.resample(0.8 * mixture / peak, SAMPLE_RATE, rate)
    with tempfile.TemporaryDirectory() as folder:
        plain, coded, decoded = (str(Path(folder) / name) for name in ("in.wav", "coded.mp3", "out.wav"))
        soundfile.write(plain, np.stack([samples, samples], 1), rate, subtype="FLOAT")
        for step in (("-i", plain, "-b:a", str(MP3_BITS), coded), ("-i", coded, decoded)):
            subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *step], check=True)
        heard = soundfile.read(decoded, dtype="float32", always_2d=True)[0].mean(1)
    back = soxr.resample(heard, rate, SAMPLE_RATE)[: len(mixture)]
    return np.pad(back, (0, len(mixture) - len(back))).astype(np.float32) * (peak / 0.8)


def accompaniment(
    cache: Path, sources: NDArray[np.float32], font: Path, program: int, choir: str = ""
) -> NDArray[np.float32]:
    """An instrument of a soundfont doubles all parts (4, T), note by note; played once, by fluidsynth. Shape: (T,)."""
    path = cache / "accompaniment" / f"{choir}{font.stem}_{program}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        score = path.with_suffix(".mid")
        write_midi(
            score, {voice: notes(source, voice) for voice, source in zip(VOICES, sources, strict=True)}, 0.0, NO_BARS
        )
        file = MidiFile(score)
        for message in (message for track in file.tracks for message in track if message.type == "program_change"):
            message.program = program
        file.save(score)
        partial = path.with_suffix(".partial.wav")
        fixed = ("-n", "-i", "-q", "-R", "0", "-C", "0", "-r", str(SAMPLE_RATE), "-F", str(partial))
        subprocess.run(["fluidsynth", *fixed, str(font), str(score)], check=True)
        partial.replace(path)
    played = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1)[: sources.shape[1]]
    return np.pad(played, (0, sources.shape[1] - len(played))).astype(np.float32)


def notes(source: NDArray[np.float32], voice: str) -> list[Note]:
    """What one singer sings, (T,), in steps of 5 ms."""
    finder = NoteFinder(0.005)
    return [*finder.push(label_f0(source, SAMPLE_RATE, VOICE_RANGES_HZ[voice])), *finder.finish()]


def cases(group: str, data: Path, cache: Path, fonts: Sequence[Path] = ()) -> Iterator[Case]:
    """The recordings of a group; `fonts` (.sf2) play what accompanies."""
    solo = load_takes(data, [4])
    if group == "dry":
        yield Case("dry", solo[:, 0])
    elif group == "pairs":
        for pair in combinations(EVERYBODY, 2):
            sung = np.zeros_like(solo[:, 0])
            sung[list(pair)] = solo[list(pair), 0]
            yield Case("pairs, roster given", sung, pair)
    elif group == "SAB":
        three = solo[:, 0].copy()
        three[VOICES.index("tenor")] = 0
        yield Case("soprano, alto, bass, roster given", three, (0, 1, 3))
    elif group == "stereo":
        left, right = panned(solo[:, 0])
        yield Case("stereo pair, left channel", left, mixture=np.stack([left.sum(0), right.sum(0)]))
    elif group == "soloist":
        trained = load_takes(data, [1, 2, 3])
        for seed in range(ROOM_SEEDS):
            choir = in_room(trained, responses(cache, "1.8 s", seed))
            for part in EVERYBODY:
                yield Case("soloist before three a part in a room 1.8 s", before_choir(solo[part, 0], choir, part))
    elif group == "noise":
        for level_db in NOISE_DB:
            yield Case(
                f"pink noise at {level_db} dB", solo[:, 0], other=at_level(pink_noise(solo.shape[2]), solo, level_db)
            )
    elif group == "mp3":
        yield Case("mp3, 96 kbit/s", solo[:, 0], mixture=through_mp3(solo[:, 0].sum(0)))
    elif group == "accompaniment":
        for font in fonts:
            for name, program in INSTRUMENTS.items():
                played = accompaniment(cache, solo[:, 0], font, program)
                for level_db in ACCOMPANIMENT_DB:
                    condition = f"{name} ({font.stem}) doubling at {level_db} dB"
                    yield Case(condition, solo[:, 0], other=at_level(played, solo, level_db))
            for number, choir in enumerate(load_guests(cache / "guests_held_back")):
                played = accompaniment(cache, choir[:, 0], font, INSTRUMENTS["piano"], f"guests_{number}_")
                for level_db in ACCOMPANIMENT_DB:
                    condition = f"another choir, piano ({font.stem}) doubling at {level_db} dB"
                    yield Case(condition, choir[:, 0], other=at_level(played, choir, level_db))
    elif group == "transposed":
        for semitones in SEMITONES:
            yield Case(f"transposed by {semitones:+d} semitones", taped(solo[:, 0], semitones))
    elif group == "chorales":
        for choir in load_choirs(cache / "syn_valid"):
            yield Case("chorales, re-sung", choir.sources)
    elif group == "sections":
        yield Case("two a part", load_takes(data, [3, 4]).sum(1))
        yield Case("four a part", load_takes(data, [1, 2, 3, 4]).sum(1))
    elif group in ("rooms", "sections in rooms"):
        takes, name = (solo, "one a part") if group == "rooms" else (load_takes(data, [1, 2, 3, 4]), "four a part")
        for room in ROOMS:
            for seed in range(ROOM_SEEDS):
                yield Case(f"{name}, room {room}", in_room(takes, responses(cache, room, seed)))
    elif group == "guests":
        choirs = load_guests(cache / "guests_held_back")
        for choir in choirs:
            yield Case("another choir, dry", choir[:, 0])
        for room in ROOMS:
            for number, choir in enumerate(choirs):
                yield Case(f"another choir, room {room}", in_room(choir, responses(cache, room, number % ROOM_SEEDS)))
