"""Synthetic choirs: real singers, analysed by WORLD, sing chorales that they never sang.

    python -m divisi_workshop.choirs.resung --recordings NINO_DIOS --labels LABELS --chorales JSON --out CACHE/resung

Every choir is made from its number and the seed alone, so that an interrupted run goes on where it stopped. What is
made is as private as the recordings it was made from: it stays in the cache and out of the repository.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyworld
import soundfile
from scipy.ndimage import median_filter, uniform_filter1d
from tqdm import tqdm

from divisi_workshop.choirs.f0_labels import LABEL_HOP_SECONDS
from divisi_workshop.choirs.melodies import CHAMBER, FRAME_RATE, Style, draw_melody, sing_notes
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Choir, Part, load_part

logger = logging.getLogger(__name__)

FFT_SIZE = 1024
FRAME_MS = 1000 * LABEL_HOP_SECONDS


@dataclass(frozen=True)
class Singer:
    """One voice taken apart, frame by frame: log envelope (L, 513), coded aperiodicity (L, b), voicing, own wobble."""

    log_envelope: np.ndarray
    aperiodicity: np.ndarray
    is_voiced: np.ndarray
    deviation_cents: np.ndarray


def analyse_singer(part: Part) -> Singer:
    """WORLD analysis (Morise et al., 2016) of one recording with its labels."""
    samples = part.samples / 32768.0
    frame_count = min(len(part.f0_hz), int(len(samples) / SAMPLE_RATE * FRAME_RATE))
    f0 = part.f0_hz[:frame_count].astype(np.float64)
    times = np.arange(frame_count) * LABEL_HOP_SECONDS
    envelope = pyworld.cheaptrick(samples, f0, times, SAMPLE_RATE, fft_size=FFT_SIZE)
    aperiodicity = pyworld.d4c(samples, f0, times, SAMPLE_RATE, fft_size=FFT_SIZE)
    return Singer(
        log_envelope=np.log(envelope + 1e-16).astype(np.float32),
        aperiodicity=pyworld.code_aperiodicity(aperiodicity, SAMPLE_RATE),
        is_voiced=f0 > 0,
        deviation_cents=own_deviation(f0),
    )


def own_deviation(f0_hz: np.ndarray) -> np.ndarray:
    """How a singer strays from the note being held: pitch less its running median, in cents, 0 where it jumps."""
    if not (f0_hz > 0).any():
        return np.zeros(len(f0_hz))
    frames = np.arange(len(f0_hz))
    cents = 1200 * np.log2(np.interp(frames, frames[f0_hz > 0], f0_hz[f0_hz > 0]))
    deviation = cents - median_filter(cents, size=int(0.5 * FRAME_RATE) | 1)
    deviation[np.abs(deviation) > 80] = 0
    return uniform_filter1d(deviation, 3)


def draw_text(rng: np.random.Generator, frame_count: int, source_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which source frame is sung when: chunks of 1.5 to 6 s from random places at a random rate.

    Returns positions (frame_count,) in source frames, and a gain (frame_count,) that dips where chunks join.
    """
    positions = np.zeros(frame_count)
    gain = np.ones(frame_count)
    filled = 0
    while filled < frame_count:
        length = min(int(rng.uniform(1.5, 6.0) * FRAME_RATE), frame_count - filled)
        rate = rng.uniform(0.75, 1.3)
        first = rng.uniform(0, max(source_count - length * rate - 2, 1))
        positions[filled : filled + length] = first + rate * np.arange(length)
        dip = np.minimum(np.arange(length), np.arange(length)[::-1]) / 8
        gain[filled : filled + length] = np.minimum(dip, 1.0)
        filled += length
    return np.clip(positions, 0, source_count - 2), gain


def sing(
    rng: np.random.Generator,
    singer: Singer,
    midi: np.ndarray,
    positions: np.ndarray,
    gain: np.ndarray,
    style: Style = CHAMBER,
) -> tuple[np.ndarray, np.ndarray]:
    """One voice of a choir. Shape: (L,) frames each -> samples (T,) float32, F0 (L,) in Hz."""
    frames = np.clip(positions, 0, len(singer.is_voiced) - 1).astype(int)
    f0 = sing_notes(rng, midi, singer.deviation_cents[frames], style)
    f0 *= singer.is_voiced[frames]
    resting = midi < 0
    loudness = gain * (1 - uniform_filter1d(resting.astype(float), 12)) * ~resting
    loudness *= 10 ** (2.0 * np.asarray(slow_gain(rng, len(midi))) / 20)

    stretch = rng.uniform(0.9, 1.12)
    columns = np.minimum(np.arange(FFT_SIZE // 2 + 1) / stretch, FFT_SIZE // 2).round().astype(int)
    envelope = np.exp(singer.log_envelope[np.ix_(frames, columns)].astype(np.float64)) * loudness[:, None] ** 2
    aperiodicity = pyworld.decode_aperiodicity(np.ascontiguousarray(singer.aperiodicity[frames]), SAMPLE_RATE, FFT_SIZE)
    samples = pyworld.synthesize(f0, np.ascontiguousarray(envelope + 1e-16), aperiodicity, SAMPLE_RATE, FRAME_MS)
    audible = loudness > 0.05
    return samples.astype(np.float32), np.where(audible, f0, 0.0).astype(np.float32)


def slow_gain(rng: np.random.Generator, frame_count: int) -> np.ndarray:
    """Swell and fade over seconds, about unit deviation. Shape: (frame_count,)."""
    knots = rng.standard_normal(frame_count // int(1.5 * FRAME_RATE) + 2)
    return np.interp(np.linspace(0, len(knots) - 1, frame_count), np.arange(len(knots)), knots)


def make_choir(
    rng: np.random.Generator, singers: Sequence[Sequence[Singer]], chorales: Sequence[np.ndarray], seconds: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """One choir of four. Returns samples (4, T), F0 (4, L) and the length of a beat in seconds."""
    melody = draw_melody(rng, chorales, seconds)
    chosen = [voice[int(rng.integers(len(voice)))] for voice in singers]
    frame_count = melody.midi.shape[1]
    shortest = min(len(singer.is_voiced) for singer in chosen)
    common = draw_text(rng, frame_count, shortest) if rng.random() < 0.6 else None
    voices, tracks = [], []
    for singer, midi in zip(chosen, melody.midi, strict=True):
        positions, gain = common if common is not None else draw_text(rng, frame_count, shortest)
        samples, f0 = sing(rng, singer, midi, positions, gain)
        voices.append(samples)
        tracks.append(f0)
    return np.stack(voices), np.stack(tracks), melody.quarter_seconds


def save_choir(folder: Path, number: int, samples: np.ndarray, f0_hz: np.ndarray, quarter_seconds: float) -> None:
    """Write `choir_<number>.flac` (four channels) and, last, `choir_<number>.npz`, whose presence says it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    peak = max(float(np.abs(samples).max()), 1e-9)
    soundfile.write(folder / f"choir_{number:05d}.flac", (samples * (0.9 / peak)).T, SAMPLE_RATE, subtype="PCM_16")
    partial = folder / f"choir_{number:05d}.partial"
    with partial.open("wb") as handle:
        np.savez(handle, f0_hz=f0_hz.astype(np.float32), quarter_seconds=quarter_seconds)
    partial.replace(folder / f"choir_{number:05d}.npz")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--chorales", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--singers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    singers = [
        [
            analyse_singer(load_part(arguments.recordings / f"{voice}_{n}.flac", arguments.labels / f"{voice}_{n}.npy"))
            for n in arguments.singers
        ]
        for voice in tqdm(VOICES, desc="analysing")
    ]
    chorales = load_chorales(arguments.chorales, arguments.split)
    for number in tqdm(range(arguments.count), desc="singing"):
        if not (arguments.out / f"choir_{number:05d}.npz").exists():
            rng = np.random.default_rng((arguments.seed, number))
            save_choir(arguments.out, number, *make_choir(rng, singers, chorales, arguments.seconds))


if __name__ == "__main__":
    main()
