"""What the remixer draws from: single-singer recordings with their pitch, alone or as choirs in sync.

A `Part` is one singer. A `Choir` holds, for each voice, the singers who sang the same music at the same time.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyworld
import soundfile
import soxr
from tqdm import tqdm

VOICES = ("soprano", "alto", "tenor", "bass")
SAMPLE_RATE = 16_000


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
    partial = folder / f"choir_{number:05d}.partial"
    with partial.open("wb") as handle:
        np.savez(handle, f0_hz=f0_hz.astype(np.float32), quarter_seconds=quarter_seconds)
    partial.replace(folder / f"choir_{number:05d}.npz")


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


LABEL_HOP_SECONDS = 0.005
VOICE_RANGES_HZ = {
    "soprano": (170.0, 1100.0),
    "alto": (130.0, 800.0),
    "tenor": (85.0, 600.0),
    "bass": (60.0, 430.0),
}
SILENCE_RATIO = 0.01
"""Frames below this share of the loudest frame carry breath or a neighbour's voice, not a pitch of this singer."""


def label_f0(samples: np.ndarray, sample_rate: int, range_hz: tuple[float, float]) -> np.ndarray:
    """Track the pitch of one singer.

    Shape: `samples` (T,) float in ±1; returns (L,) float32, Hz every 5 ms, 0 where unvoiced.
    """
    signal = samples.astype(np.float64)
    low_hz, high_hz = range_hz
    frame_ms = 1000 * LABEL_HOP_SECONDS
    coarse, times = pyworld.harvest(signal, sample_rate, f0_floor=low_hz, f0_ceil=high_hz, frame_period=frame_ms)
    refined = pyworld.stonemask(signal, coarse, times, sample_rate)
    levels = frame_levels(signal, len(refined), sample_rate)
    refined[levels < SILENCE_RATIO * levels.max(initial=0.0)] = 0.0
    return refined.astype(np.float32)


def frame_levels(samples: np.ndarray, frame_count: int, sample_rate: int, window_seconds: float = 0.04) -> np.ndarray:
    """Root mean square around each label frame. Shape: (T,) -> (frame_count,)."""
    half = int(window_seconds * sample_rate / 2)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.round(np.arange(frame_count) * LABEL_HOP_SECONDS * sample_rate).astype(int)
    starts = np.clip(centres - half, 0, len(samples))
    stops = np.clip(centres + half, 0, len(samples))
    return np.sqrt((energy[stops] - energy[starts]) / np.maximum(stops - starts, 1))


def label_folder(recordings: Path, labels: Path) -> list[Path]:
    """Label every `<voice>_<singer>.flac` of a folder; tracks that exist are kept."""
    targets = []
    labels.mkdir(parents=True, exist_ok=True)
    for recording in tqdm(sorted(recordings.glob("*.flac")), desc="labelling"):
        range_hz = VOICE_RANGES_HZ.get(recording.stem.rpartition("_")[0])
        target = labels / f"{recording.stem}.npy"
        if range_hz is None:
            continue
        if not target.exists():
            partial = target.with_suffix(".partial.npy")
            samples, sample_rate = soundfile.read(recording, dtype="float64")
            np.save(partial, label_f0(samples, sample_rate, range_hz))
            partial.replace(target)
        targets.append(target)
    return targets
