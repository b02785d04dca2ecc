"""Singers made from nothing: a voice for a melody, from resonances and harmonics alone, with its exact F0.

No recording of anyone is in it, so what it sings may be published: the sample recording (`sample_chorale`), test
signals, and choirs to train on, each singer drawn from a seed.

A voice is the sum of a band-limited glottal tone (harmonics of one phase, each with the gain of the tract at its
frequency), breath that passes the same tract, and the noise of consonants. How they change over time says `singer`.
Choirs of such voices join the re-sung ones, and widen what few real singers cannot give: tracts, vibratos, vowels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from divisi_workshop.choirs.melodies import REST, draw_melody
from divisi_workshop.choirs.singer import (
    CONSONANTS,
    FRAME_RATE,
    VOWELS,
    Array,
    Note,
    Score,
    SingerTraits,
    draw_singer,
    formant_track,
    loudness_track,
    pitch_track,
    transfer,
)
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, VOICES

# The voice counts as silent below: F0 is 0 there.
SILENCE_DB = -30.0
# RMS of the sung part of a voice, before the singer's own loudness: headroom for four voices and their peaks.
LEVEL = 0.06
_BREATH_WINDOW = 1_024
SINGER_SEEDS = (10_000, 1_000_000)
"""Singers of choirs are drawn from these seeds; that of the sample recording is not among them."""
LONGEST_SYLLABLE_SECONDS = 1.6
_SUNG_VOWELS = [vowel for vowel in VOWELS if vowel != "m"]


@dataclass(frozen=True)
class SungVoice:
    """Attributes: `samples`: float32 (T,); `f0_hz`: float32 (T,), their pitch, 0 where the voice is silent."""

    samples: NDArray[np.float32]
    f0_hz: NDArray[np.float32]


def sing(notes: Sequence[Note], singer: SingerTraits, sample_rate: int, seed: int) -> SungVoice:
    """Sings a melody.

    Args:
        notes: one after the other; their seconds add up to the length of the result.
        singer: who sings.
        sample_rate: Hz; all harmonics stay below half of it.
        seed: of everything that differs from one performance to the next.

    Returns:
        T = seconds · rate, rounded.
    """
    rng = np.random.default_rng(seed)
    num_samples = round(sum(note.seconds for note in notes) * sample_rate)
    score = Score(notes, singer.lateness_seconds)
    log_f0 = np.log(440.0) + (pitch_track(score, singer, rng) - 69) * np.log(2) / 12
    gain_db = loudness_track(score, singer, rng)
    formants_hz = formant_track(score, singer, np.exp(log_f0))

    frames = np.arange(num_samples) * (FRAME_RATE / sample_rate)
    grid = np.arange(score.num_frames)
    f0_hz = np.exp(np.interp(frames, grid, log_f0))
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    tone = _tone(f0_hz, phase, 10 ** (gain_db / 20), formants_hz, singer, sample_rate)

    is_sung = np.interp(frames, grid, gain_db) > SILENCE_DB
    level = LEVEL * 10 ** (singer.loudness_db / 20)
    tone *= level / np.sqrt(np.mean(tone[is_sung] ** 2) if is_sung.any() else 1.0)
    breath_gain = 10 ** (singer.breath_db / 20) * np.interp(frames, grid, np.sqrt(10 ** (gain_db / 20)))
    breath = _breath(rng, num_samples, formants_hz, singer, sample_rate) * breath_gain * (1 + 0.5 * np.cos(phase))
    noise = _consonant_noise(rng, score, num_samples, sample_rate)
    samples = tone + level * (breath + noise)
    f0 = np.where(is_sung, f0_hz, 0).astype(np.float32)
    return SungVoice(samples.astype(np.float32), f0)


def _tone(f0_hz: Array, phase: Array, gain: Array, formants_hz: Array, singer: SingerTraits, sample_rate: int) -> Array:
    """The sum of all harmonics below half the sample rate. `(T,)`.

    Harmonic k sounds as Re(A_k(t) · e^{ikφ(t)}). A_k is known at frames and interpolated between; e^{ikφ} grows from
    e^{i(k−1)φ} by one multiplication.
    """
    num_samples = len(f0_hz)
    hop_length = sample_rate // FRAME_RATE
    num_hops = -(-num_samples // hop_length)
    at_hops = np.minimum(np.arange(num_hops + 1) * hop_length, num_samples - 1)
    frames = at_hops * (FRAME_RATE / sample_rate)
    grid = np.arange(len(gain))
    hop_gain = np.interp(frames, grid, gain)
    hop_formants = np.stack([np.interp(frames, grid, track) for track in formants_hz.T], axis=1)
    # A voice that grows louder grows brighter.
    corner_hz = singer.corner_hz * np.maximum(hop_gain, 1e-3) ** 0.25

    padded = num_hops * hop_length
    rotor = np.exp(1j * np.pad(phase, (0, padded - num_samples), mode="edge")).reshape(num_hops, hop_length)
    turning = np.ones_like(rotor)
    ramp = np.arange(hop_length) / hop_length
    tone = np.zeros((num_hops, hop_length))
    nyquist_hz = sample_rate / 2
    for number in range(1, int(nyquist_hz / f0_hz.min()) + 1):
        turning *= rotor
        frequencies_hz = number * f0_hz[at_hops]
        if frequencies_hz.min() >= nyquist_hz:
            break
        # Flow derivative at the glottis: level up to about the second harmonic, then 6, then 12 dB an octave down.
        source = hop_gain / ((1 + 0.5j * number) * (1 + 1j * frequencies_hz / corner_hz))
        # Faded out over the last tenth of the band, gone at its end.
        source *= np.clip((nyquist_hz - 1.01 * frequencies_hz) / (0.1 * nyquist_hz), 0, 1)
        amplitude = source * transfer(hop_formants, frequencies_hz[:, None], singer.tract_scale)[:, 0]
        between = amplitude[:-1, None] + np.diff(amplitude)[:, None] * ramp
        tone += between.real * turning.real - between.imag * turning.imag
    return tone.reshape(-1)[:num_samples]


def _breath(
    rng: np.random.Generator, num_samples: int, formants_hz: Array, singer: SingerTraits, sample_rate: int
) -> Array:
    """Noise that passes the tract, of unit RMS: filtered frame by frame, windows adding up to one. `(T,)`."""
    hop_length = _BREATH_WINDOW // 2
    num_frames = num_samples // hop_length + 2
    window = np.sin(np.pi * (np.arange(_BREATH_WINDOW) + 0.5) / _BREATH_WINDOW)
    white = rng.standard_normal((num_frames + 1) * hop_length)
    segments = np.lib.stride_tricks.sliding_window_view(white, _BREATH_WINDOW)[::hop_length] * window
    frequencies_hz = np.fft.rfftfreq(_BREATH_WINDOW, 1 / sample_rate)
    at_frames = np.arange(len(segments)) * hop_length / sample_rate * FRAME_RATE
    grid = np.arange(len(formants_hz))
    formants = np.stack([np.interp(at_frames, grid, track) for track in formants_hz.T], axis=1)
    response = np.abs(transfer(formants, frequencies_hz[None], singer.tract_scale))
    # Turbulence falls off above some kHz.
    response /= np.sqrt(1 + (frequencies_hz / 5_000) ** 2)
    filtered = np.fft.irfft(np.fft.rfft(segments) * response, _BREATH_WINDOW) * window
    breath = np.zeros((num_frames + 1) * hop_length)
    for half in range(2):
        part = filtered[:, half * hop_length : (half + 1) * hop_length].reshape(-1)
        breath[half * hop_length : half * hop_length + len(part)] += part
    breath = breath[hop_length : hop_length + num_samples]
    return breath / max(float(np.sqrt(np.mean(breath**2))), 1e-9)


def _consonant_noise(rng: np.random.Generator, score: Score, num_samples: int, sample_rate: int) -> Array:
    """The hiss and bursts of consonants against a voice of level 1. `(T,)`."""
    noise = np.zeros(num_samples)
    for note, start in zip(score.notes, score.starts, strict=True):
        consonant = CONSONANTS[note.consonant]
        first = max(0, round((start - consonant.seconds) * sample_rate))
        length = min(round(1.2 * consonant.seconds * sample_rate), num_samples - first)
        if consonant.noise_db is None or length < 8:
            continue
        spectrum = np.fft.rfft(rng.standard_normal(length))
        frequencies_hz = np.fft.rfftfreq(length, 1 / sample_rate)
        low = 1 / (1 + (consonant.low_hz / np.maximum(frequencies_hz, 1)) ** 6)
        high = 1 / (1 + (frequencies_hz / consonant.high_hz) ** 6)
        hiss = np.fft.irfft(spectrum * np.sqrt(low * high), length) * np.hanning(length)
        noise[first : first + length] += hiss * 10 ** (consonant.noise_db / 20) / max(float(hiss.std()), 1e-9)
    return noise


def make_choir(
    rng: np.random.Generator, chorales: Sequence[np.ndarray], seconds: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """One choir of four. Returns samples (4, T), F0 (4, L) in Hz on the label grid, and the length of a beat."""
    melody = draw_melody(rng, chorales, seconds)
    hop = round(LABEL_HOP_SECONDS * SAMPLE_RATE)
    text_seed = int(rng.integers(2**31)) if rng.random() < 0.6 else None
    voices, tracks = [], []
    for voice, midi in zip(VOICES, melody.midi, strict=True):
        # Voices that share a text start it from the same seed: the same syllables while their notes go together.
        text = np.random.default_rng(int(rng.integers(2**31)) if text_seed is None else text_seed)
        singer = draw_singer(voice, int(rng.integers(*SINGER_SEEDS)))
        sung = sing(to_notes(text, midi), singer, SAMPLE_RATE, int(rng.integers(2**31)))
        voices.append(sung.samples)
        tracks.append(sung.f0_hz[::hop][: len(midi)])
    return np.stack(voices), np.stack(tracks), melody.quarter_seconds


def to_notes(rng: np.random.Generator, midi: np.ndarray) -> list[Note]:
    """Notes with syllables for a pitch (L,) per label frame; what is held long is sung on several syllables."""
    changes = np.flatnonzero(np.diff(midi)) + 1
    notes = []
    for held in np.split(midi, changes):
        seconds = len(held) / FRAME_RATE
        if held[0] == REST:
            notes.append(Note(None, seconds))
            continue
        syllables = int(np.ceil(seconds / LONGEST_SYLLABLE_SECONDS))
        for _ in range(syllables):
            consonant = str(rng.choice(list(CONSONANTS)))
            vowels = "".join(rng.choice(_SUNG_VOWELS, size=int(rng.integers(1, 3))))
            notes.append(Note(float(held[0]), seconds / syllables, consonant, vowels))
    return notes
