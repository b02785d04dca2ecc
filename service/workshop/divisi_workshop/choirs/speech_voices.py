"""Voices of speech synthesisers, taken apart by WORLD: other vocal tracts and languages for choirs to sing with.

Needs espeak-ng, flite and festival with its voices; `speech_packages.sh` beside this file installs them from Debian.
Every speaker reads texts of `speech.yaml` at its own pitch and pace. One file a speaker; what exists is kept.
The audio itself is not stored.
"""

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyworld
import soundfile
import soxr
import yaml
from scipy.ndimage import median_filter, uniform_filter1d
from tqdm import tqdm

from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, Part, save_arrays
from divisi_workshop.choirs.world_voices import Singer, analyse_singer, frame_levels

logger = logging.getLogger(__name__)

SPEECH_RANGE_HZ = (65.0, 480.0)
NOISE_DB = -0.5
"""An aperiodicity above this in a frame said to be voiced means noise: D4C found no periodicity there."""
SHORTEST_FRAMES = 7
"""Voicing that changes for less than half of this is a flicker of the analysis, and would click when sung."""
SILENT_PACE = 0.15


@cache
def read_speech() -> dict[str, Any]:
    """`speech.yaml` beside this file: the programs' voices, texts by language, and syllables for all."""
    speech: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("speech.yaml").read_text("utf-8"))
    return speech


@dataclass(frozen=True)
class Speaker:
    """Who reads: a program (`espeak-ng`, `festival`, `flite`), its voice, a language, pitch (0–99, espeak only) and how
    many times slower than usual.
    """

    program: str
    voice: str
    language: str
    pitch: int
    slowness: float

    @property
    def name(self) -> str:
        return f"{self.program}_{self.voice}_{self.language}"

    def command(self, text_file: Path, out: Path) -> list[str]:
        """How to have a text file read into a WAV file."""
        if self.program == "espeak-ng":
            manner = [
                "-v",
                f"{self.language}+{self.voice}",
                "-p",
                f"{self.pitch}",
                "-s",
                f"{round(160 / self.slowness)}",
            ]
            return ["espeak-ng", *manner, "-f", f"{text_file}", "-w", f"{out}"]
        if self.program == "flite":
            stretch = f"duration_stretch={self.slowness:.2f}"
            return ["flite", "-voice", self.voice, "--setf", stretch, "-f", f"{text_file}", "-o", f"{out}"]
        # Voices set the stretch themselves when they are chosen.
        setting = f"(begin (voice_{self.voice}) (Parameter.set 'Duration_Stretch {self.slowness:.2f}))"
        return ["text2wave", "-eval", setting, f"{text_file}", "-o", f"{out}"]


def draw_speakers(seed: int, espeak_count: int) -> Iterator[Speaker]:
    """Every festival and flite voice once, and so many of espeak-ng's pairs of language and variant."""
    rng = np.random.default_rng(seed)
    speech = read_speech()
    for voice, language in speech["festival"].items():
        yield Speaker("festival", voice, language, 50, rng.uniform(1.1, 1.5))
    for voice in speech["flite"]:
        yield Speaker("flite", voice, "en", 50, rng.uniform(1.1, 1.5))
    languages = rng.permutation(np.resize(list(speech["languages"]), espeak_count))
    variants = rng.permutation(np.resize(speech["espeak_variants"], espeak_count))
    for language, variant in zip(languages, variants, strict=True):
        yield Speaker("espeak-ng", str(variant), str(language), int(rng.integers(25, 75)), rng.uniform(1.0, 1.8))


@dataclass(frozen=True)
class SpeechVoice:
    """A speaker taken apart, frame by frame (L,): `is_vowel`: steady and voiced, may be held; `is_silent`: a pause.

    `speaking_hz`: median pitch, which tells a long vocal tract from a short one well enough.
    """

    singer: Singer
    is_vowel: np.ndarray
    is_silent: np.ndarray
    speaking_hz: float


def read_aloud(speaker: Speaker, texts: list[str]) -> np.ndarray:
    """Have texts read. Shape: (T,) float64 at 16 kHz, peak 0.5; raises CalledProcessError where the program fails."""
    encoding = "utf-8"
    if speaker.program == "festival":
        encoding = read_speech()["festival_encodings"].get(speaker.language, "iso-8859-1")
    with tempfile.TemporaryDirectory() as folder:
        text_file, out = Path(folder) / "text.txt", Path(folder) / "speech.wav"
        text_file.write_bytes("\n".join(texts).encode(encoding, errors="ignore"))
        subprocess.run(speaker.command(text_file, out), check=True, capture_output=True, timeout=120)
        samples, sample_rate = soundfile.read(out, dtype="float64")
    samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return np.asarray(0.5 * samples / max(float(np.abs(samples).max(initial=0.0)), 1e-9))


def analyse_speech(samples: np.ndarray) -> SpeechVoice:
    """Take speech apart. Shape: (T,) at 16 kHz."""
    # WORLD must not divide by digital silence.
    samples = samples + 1e-5 * np.random.default_rng(0).standard_normal(len(samples))
    f0_hz = speech_f0(samples)
    singer = analyse_singer(Part("speech", (samples * 32767).astype(np.int16), f0_hz))
    frame_count = len(singer.is_voiced)
    is_voiced = singer.is_voiced & (singer.aperiodicity.mean(axis=1) < NOISE_DB)
    is_voiced = np.asarray(median_filter(is_voiced, size=SHORTEST_FRAMES))
    levels_db = 20 * np.log10(frame_levels(samples, frame_count, SAMPLE_RATE) + 1e-9)
    loud_db = np.percentile(levels_db, 90)
    change = uniform_filter1d(np.abs(np.diff(singer.log_envelope, axis=0, prepend=singer.log_envelope[:1])).mean(1), 5)
    steady = change < np.percentile(change[is_voiced], 60) if is_voiced.any() else change < 0
    return SpeechVoice(
        # The melody of speech is no singer's habit: nothing of it is kept.
        Singer(singer.log_envelope, singer.aperiodicity, is_voiced, np.zeros(frame_count)),
        is_vowel=is_voiced & steady & (levels_db > loud_db - 15),
        is_silent=uniform_filter1d((levels_db > loud_db - 45).astype(float), round(0.06 / LABEL_HOP_SECONDS)) < 0.05,
        speaking_hz=float(np.median(f0_hz[:frame_count][is_voiced])) if is_voiced.any() else 0.0,
    )


def speech_f0(samples: np.ndarray) -> np.ndarray:
    """Pitch of synthetic speech, (L,) Hz every 5 ms, 0 where unvoiced: clean enough for DIO, 50 times faster than
    Harvest.
    """
    low_hz, high_hz = SPEECH_RANGE_HZ
    frame_ms = 1000 * LABEL_HOP_SECONDS
    coarse, times = pyworld.dio(samples, SAMPLE_RATE, f0_floor=low_hz, f0_ceil=high_hz, frame_period=frame_ms)
    return np.asarray(pyworld.stonemask(samples, coarse, times, SAMPLE_RATE), np.float32)


def save_voice(path: Path, voice: SpeechVoice) -> None:
    """Write in one piece; envelopes in half precision."""
    save_arrays(
        path,
        log_envelope=voice.singer.log_envelope.astype(np.float16),
        aperiodicity=voice.singer.aperiodicity,
        is_voiced=voice.singer.is_voiced,
        is_vowel=voice.is_vowel,
        is_silent=voice.is_silent,
        speaking_hz=voice.speaking_hz,
    )


def load_voice(path: Path) -> SpeechVoice:
    stored = np.load(path)
    is_voiced = stored["is_voiced"]
    envelope = stored["log_envelope"].astype(np.float32)
    singer = Singer(envelope, stored["aperiodicity"], is_voiced, np.zeros(len(is_voiced)))
    return SpeechVoice(singer, stored["is_vowel"], stored["is_silent"], float(stored["speaking_hz"]))


def load_voices(folder: Path) -> list[SpeechVoice]:
    """All voices of a folder, in the order of their names."""
    return [load_voice(path) for path in sorted(folder.glob("*.npz"))]


def make_voice(speaker: Speaker, seconds: float, seed: int) -> SpeechVoice:
    """Have a speaker read until there is enough, at most a few times, and take what was read apart."""
    rng = np.random.default_rng((seed, *speaker.name.encode()))
    texts = [str(text) for text in rng.permutation(texts_for(speaker.language))]
    read: list[np.ndarray] = []
    for first in range(0, len(texts), 3):
        read.append(read_aloud(speaker, texts[first : first + 3]))
        if sum(map(len, read)) > seconds * SAMPLE_RATE:
            break
    return analyse_speech(np.concatenate(read)[: round(seconds * SAMPLE_RATE)])


def sung_time(voice: SpeechVoice, vowel_stretch: float) -> np.ndarray:
    """When each frame of speech comes if its vowels are held so many times longer and its pauses are cut. Shape: (L,),
    increasing, in frames of the song.

    Singing is speech whose vowels are long; consonants take as long as they ever do.
    """
    pace = np.ones(len(voice.is_vowel))
    pace[voice.is_vowel] = vowel_stretch
    pace[voice.is_silent] = SILENT_PACE
    return np.cumsum(uniform_filter1d(pace, 5))


def texts_for(language: str) -> list[str]:
    """Everything a voice of that language can read: its own sentences, Latin and syllables; not all can read Latin."""
    speech = read_speech()
    own: list[str] = speech["languages"][language]
    if language in ("ru", "el"):
        return own
    return [*own, *(speech["languages"]["la"] if language != "la" else ()), *speech["syllables"]]


def make_voices(folder: Path, espeak_count: int, seconds: float, seed: int) -> None:
    """One file a speaker, of those who are not there yet; who says no vowels is left out."""
    for speaker in tqdm(list(draw_speakers(seed, espeak_count)), desc="reading"):
        path = folder / f"{speaker.name}.npz"
        if not path.exists():
            voice = make_voice(speaker, seconds, seed)
            if voice.is_vowel.mean() < 0.1:
                logger.warning("%s says no vowels, left out", speaker.name)
                continue
            save_voice(path, voice)
