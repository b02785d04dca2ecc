"""What the remixer draws from: single-singer recordings with their pitch, alone or as choirs in sync.

A `Part` is one singer. A `Choir` holds, for each voice, the singers who sang the same music at the same time.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from divisi_workshop.choirs.f0_labels import LABEL_HOP_SECONDS

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
