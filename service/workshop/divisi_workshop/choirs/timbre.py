"""Changing how a voice sounds once it is taken apart: other tract, tilt, breath, and blends of two voices.

Each takes a `Singer` (see `resung`) of (N,) frames and returns one; `along` first puts it on the time of a song.
"""

from dataclasses import replace

import numpy as np
from scipy.ndimage import uniform_filter1d

from divisi_workshop.choirs.melodies import hertz
from divisi_workshop.choirs.resung import FFT_SIZE, Singer
from divisi_workshop.choirs.speech_voices import SpeechVoice
from divisi_workshop.choirs.takes import SAMPLE_RATE

BIN_HZ = SAMPLE_RATE / FFT_SIZE
POWER_PER_DB = np.log(10) / 10
"""Envelopes are natural logarithms of power."""

NUM_HARMONICS = 40
LARGEST_CORRECTION_DB = 15.0
CONSONANTS_BELOW_DB = 9.0
SILENT_PACE = 0.15


def sung_time(voice: SpeechVoice, vowel_stretch: float) -> np.ndarray:
    """When each frame of speech comes if its vowels are held so many times longer and its pauses are cut. Shape: (L,),
    increasing, in frames of the song.

    Singing is speech whose vowels are long; consonants take as long as they ever do.
    """
    pace = np.ones(len(voice.is_vowel))
    pace[voice.is_vowel] = vowel_stretch
    pace[voice.is_silent] = SILENT_PACE
    return np.cumsum(uniform_filter1d(pace, 5))


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
