"""Voices labelled and taken apart by WORLD, changed, and sung again: singers and speakers on what they never sang.

What is made of a recording is as private as the recording: it stays in the cache and out of the repository. The second
half changes how a voice sounds once it is taken apart: other tract, tilt, breath, and blends of two voices. Each change
takes a `Singer` of (N,) frames and returns one; `along` first puts it on the time of a song.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyworld
from scipy.ndimage import median_filter, uniform_filter1d
from tqdm import tqdm

from divisi_workshop.choirs.melodies import CHAMBER, FRAME_RATE, Style, draw_melody, hertz, sing_notes
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, Part, load_nino_dios, read_mono

VOICE_RANGES_HZ = {"soprano": (170.0, 1100.0), "alto": (130.0, 800.0), "tenor": (85.0, 600.0), "bass": (60.0, 430.0)}
SILENCE_RATIO = 0.01
"""Frames below this share of the loudest frame carry breath or a neighbour's voice, not a pitch of this singer."""

FFT_SIZE = 1024
FRAME_MS = 1000 * LABEL_HOP_SECONDS
BIN_HZ = SAMPLE_RATE / FFT_SIZE
POWER_PER_DB = np.log(10) / 10
"""Envelopes are natural logarithms of power."""
NUM_HARMONICS = 40
LARGEST_CORRECTION_DB = 15.0
CONSONANTS_BELOW_DB = 9.0


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


def read_or_make_label(samples: np.ndarray, voice: str, target: Path) -> np.ndarray:
    """The track of a recording, made once: Harvest runs at a fraction of real time. Shape: (T,) at 16 kHz -> (L,)."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial.npy")
        np.save(partial, label_f0(samples, SAMPLE_RATE, VOICE_RANGES_HZ[voice]))
        partial.replace(target)
    return np.asarray(np.load(target), np.float32)


def label_folder(recordings: Path, labels: Path) -> None:
    """Label every `<voice>_<singer>.flac` of a folder."""
    for recording in tqdm(sorted(recordings.glob("*.flac")), desc="labelling"):
        voice = recording.stem.rpartition("_")[0]
        if voice in VOICE_RANGES_HZ:
            read_or_make_label(read_mono(recording), voice, labels / f"{recording.stem}.npy")


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


def recorded_singers(recordings: Path, labels: Path, numbers: tuple[int, ...]) -> list[list[Singer]]:
    """Singers of Niño Dios taken apart, part by part in score order."""
    return [[analyse_singer(part) for part in voice] for voice in load_nino_dios(recordings, labels, numbers).parts]


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


def along(singer: Singer, positions: np.ndarray) -> Singer:
    """The voice at those (fractional) frames, one after the other, envelopes interpolated. Shape: (N,)."""
    before = np.clip(positions, 0, len(singer.is_voiced) - 2).astype(int)
    share = np.clip(positions - before, 0, 1)[:, None].astype(np.float32)
    nearest = before + (share[:, 0] > 0.5)
    return Singer(
        (1 - share) * singer.log_envelope[before] + share * singer.log_envelope[before + 1],
        singer.aperiodicity[nearest],
        singer.is_voiced[nearest],
        singer.deviation_cents[nearest],
    )


def scaled(singer: Singer, ratio: float) -> Singer:
    """All resonances moved by a ratio; above 1: a shorter tract."""
    places = np.minimum(np.arange(FFT_SIZE // 2 + 1) / ratio, FFT_SIZE // 2)
    before = np.minimum(places.astype(int), FFT_SIZE // 2 - 1)
    share = (places - before).astype(np.float32)
    envelope = (1 - share) * singer.log_envelope[:, before] + share * singer.log_envelope[:, before + 1]
    return replace(singer, log_envelope=envelope)


def tilted(singer: Singer, db_per_octave: float) -> Singer:
    """Brighter (above 0) or darker, around 500 Hz, from two octaves below to four above."""
    octaves = np.clip(np.log2(np.maximum(np.arange(FFT_SIZE // 2 + 1) * BIN_HZ, 1) / 500), -2, 4)
    return replace(singer, log_envelope=singer.log_envelope + (POWER_PER_DB * db_per_octave * octaves).astype("f4"))


def breathier(singer: Singer, share: float) -> Singer:
    """More noise in the tone: aperiodicity, in dB, comes nearer to 0 by a share. 0: unchanged, 1: a whisper."""
    return replace(singer, aperiodicity=singer.aperiodicity * (1 - share))


def blended(singer: Singer, other: Singer, share: np.ndarray) -> Singer:
    """Envelopes on the way to those of another voice, `share` (N,) of it; voicing and noise stay the first one's.

    Envelopes come to the same level first, or the louder voice would win in loud vowels.
    """
    voiced = [one.log_envelope[one.is_voiced] for one in (singer, other)]
    offset = np.float32(voiced[0].mean() - voiced[1].mean()) if all(map(len, voiced)) else np.float32(0)
    share = np.where(singer.is_voiced & other.is_voiced, share, 0.0)
    share = uniform_filter1d(share, 9)[:, None].astype(np.float32)
    return replace(singer, log_envelope=(1 - share) * singer.log_envelope + share * (other.log_envelope + offset))


def evened(singer: Singer, midi: np.ndarray, share: float) -> Singer:
    """Vowels brought nearer to one loudness at the pitch they are sung at, `midi` (N,), and consonants kept below it:
    speech pays no heed to either, singers do.

    A resonance below the fundamental is not excited, so that a spoken vowel can vanish on a high note.
    """
    is_tone = singer.is_voiced & (midi > 0)
    if not is_tone.any():
        return singer
    level_db = np.where(is_tone, tone_level_db(singer, midi), 10 * np.log10(np.exp(singer.log_envelope).mean(axis=1)))
    wanted_db = float(np.median(level_db[is_tone]))
    correction_db = np.clip(share * (wanted_db - level_db), -LARGEST_CORRECTION_DB, LARGEST_CORRECTION_DB)
    correction_db = np.where(is_tone, correction_db, np.minimum(wanted_db - CONSONANTS_BELOW_DB - level_db, 0.0))
    correction_db = uniform_filter1d(correction_db, 5)
    return replace(singer, log_envelope=singer.log_envelope + (POWER_PER_DB * correction_db[:, None]).astype("f4"))


def tone_level_db(singer: Singer, midi: np.ndarray) -> np.ndarray:
    """Level of each frame when sung at a pitch, on the scale of the mean power of all bins. Shape: (N,) -> (N,)."""
    f0_hz = hertz(np.where(midi > 0, midi, 60.0))
    bins = f0_hz[:, None] * np.arange(1, NUM_HARMONICS + 1) / BIN_HZ
    columns = np.minimum(bins, FFT_SIZE // 2).round().astype(int)
    power = np.exp(np.take_along_axis(singer.log_envelope, columns, axis=1)) * (bins < FFT_SIZE // 2)
    return np.asarray(10 * np.log10(power.sum(axis=1) * f0_hz / (SAMPLE_RATE / 2) + 1e-16))
