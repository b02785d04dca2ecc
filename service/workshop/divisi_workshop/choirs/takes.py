"""Recordings in memory and on disk: single singers with their pitch, choirs in sync, excerpts of either.

A `Part` is one singer. A `Choir` holds, for each voice, the singers who sang the same music at the same time.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from divisi.audio.decode import open_decoder
from divisi.audio.recording import Samples, resample
from divisi.contract.errors import InputError

VOICES = ("soprano", "alto", "tenor", "bass")
SAMPLE_RATE = 16_000
LABEL_HOP_SECONDS = 0.005
EXCERPT_LENGTH = 4 * SAMPLE_RATE
"""Of the published protocol, in samples."""


@dataclass(frozen=True)
class Part:
    """One singer: samples (T,) int16 at 16 kHz, and F0 (L,) in Hz every 5 ms, 0 where unvoiced."""

    name: str
    samples: np.ndarray
    f0_hz: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Choir:
    """Singers in sync, voice by voice in score order, and the length of a beat where it is known."""

    parts: tuple[tuple[Part, ...], ...]
    quarter_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return min(part.seconds for voice in self.parts for part in voice)


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a recording, scaled so that its mixture has peak 1: its first sample in the recording, mixture (T,)
    and sources (V, T), float32.
    """

    start: int
    mixture: Samples
    sources: Samples


def cut_excerpts(sources: Samples, start: int = 0) -> list[Excerpt]:
    """All whole excerpts of 4 s from a sample on, one after the other; the last, partial one is dropped.

    Shape: sources (V, T) that add up to the mixture.
    """
    excerpts = []
    for first in range(start, sources.shape[1] - EXCERPT_LENGTH + 1, EXCERPT_LENGTH):
        cut = sources[:, first : first + EXCERPT_LENGTH]
        mixture = cut.sum(axis=0)
        peak = np.float32(np.abs(mixture).max() or 1.0)
        excerpts.append(Excerpt(first, mixture / peak, cut / peak))
    return excerpts


def read_mono(path: Path) -> Samples:
    """Mean of the channels at SAMPLE_RATE, from any rate and format that the service takes: float32 (T,).

    Raises:
        InputError: `missing-data`, or what decoding raises.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing", code="missing-data")
    with open_decoder(path) as decoder:
        samples = np.concatenate(list(decoder.blocks(1 << 16)), axis=1)
        return resample(samples.mean(axis=0, keepdims=True), decoder.facts.sample_rate, SAMPLE_RATE)[0]


def load_nino_dios(recordings: Path, labels: Path, singers: tuple[int, ...]) -> Choir:
    """The named singers of Niño Dios (Choral Singing Dataset), files `<voice>_<singer>.flac` and labels `….npy`."""
    return Choir(
        tuple(
            tuple(
                load_part(recordings / f"{voice}_{singer}.flac", labels / f"{voice}_{singer}.npy") for singer in singers
            )
            for voice in VOICES
        )
    )


def load_part(recording: Path, label: Path) -> Part:
    """Read one recording; raises ValueError where it is not 16 kHz mono."""
    samples, sample_rate = soundfile.read(recording, dtype="int16")
    if sample_rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{recording}: expected {SAMPLE_RATE} Hz mono, found {sample_rate} Hz, shape {samples.shape}")
    return Part(recording.stem, samples, np.load(label).astype(np.float32))


def excerpt(
    part: Part, start_seconds: float, semitones: float, sample_count: int, hop_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut an excerpt, transposed as a tape is: pitch, formants and tempo move together.

    Where the recording ends or has not begun there is silence. Returns samples (sample_count,) float32 and F0
    (sample_count / hop_length + 1,) in Hz at the centres of the STFT frames.
    """
    ratio = 2.0 ** (semitones / 12)
    first = round(start_seconds * SAMPLE_RATE)
    needed = int(np.ceil(sample_count * ratio)) + 1
    raw = np.zeros(needed, dtype=np.float32)
    begin, end = max(first, 0), min(first + needed, len(part.samples))
    if begin < end:
        raw[begin - first : end - first] = part.samples[begin:end] / np.float32(32768)
    samples = raw if semitones == 0 else soxr.resample(raw, SAMPLE_RATE * ratio, SAMPLE_RATE, quality="MQ")
    whole = np.zeros(sample_count, dtype=np.float32)
    kept = min(sample_count, len(samples))
    whole[:kept] = samples[:kept]

    times = start_seconds + np.arange(sample_count // hop_length + 1) * hop_length / SAMPLE_RATE * ratio
    index = np.round(times / LABEL_HOP_SECONDS).astype(int)
    inside = (index >= 0) & (index < len(part.f0_hz))
    f0 = np.where(inside, part.f0_hz[np.clip(index, 0, len(part.f0_hz) - 1)] * ratio, 0.0)
    return whole, f0.astype(np.float32)


def save_choir(folder: Path, number: int, samples: np.ndarray, f0_hz: np.ndarray, quarter_seconds: float) -> None:
    """Write `choir_<number>.flac` (four channels) and, last, `choir_<number>.npz`, whose presence says it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    peak = max(float(np.abs(samples).max()), 1e-9)
    soundfile.write(folder / f"choir_{number:05d}.flac", (samples * (0.9 / peak)).T, SAMPLE_RATE, subtype="PCM_16")
    save_arrays(folder / f"choir_{number:05d}.npz", f0_hz=f0_hz.astype(np.float32), quarter_seconds=quarter_seconds)


def save_arrays(path: Path, **arrays: Any) -> None:
    """Write an `.npz` in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.savez(handle, **arrays)
    partial.replace(path)


def make_missing(
    folder: Path, numbers: range, seed: int, make: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray, float]]
) -> None:
    """Make those choirs of a folder that are not there yet, each from its number and the seed alone."""
    for number in tqdm(numbers, desc=f"singing {numbers.start} to {numbers.stop - 1}", mininterval=20):
        if not (folder / f"choir_{number:05d}.npz").exists():
            save_choir(folder, number, *make(np.random.default_rng((seed, number))))


def load_resung(folder: Path, known: dict[str, Choir] | None = None) -> list[Choir]:
    """All finished choirs of a folder; those in `known` are taken from there, and new ones are added to it."""
    known = {} if known is None else known
    for path in sorted(folder.glob("choir_*.npz")):
        if path.stem not in known:
            stored = np.load(path)
            samples, _ = soundfile.read(path.with_suffix(".flac"), dtype="int16", always_2d=True)
            parts = tuple(
                (Part(f"{path.stem}_{voice}", np.ascontiguousarray(samples[:, index]), stored["f0_hz"][index]),)
                for index, voice in enumerate(VOICES)
            )
            known[path.stem] = Choir(parts, float(stored["quarter_seconds"]))
    return [known[name] for name in sorted(known)]


def load_chorales(path: Path, split: str) -> list[np.ndarray]:
    """Chorales (sixteenths, 4) of one split of the JSON file."""
    return [np.asarray(chorale) for chorale in json.loads(path.read_text())[split]]
