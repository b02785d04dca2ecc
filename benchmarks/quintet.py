"""Five instrument-like voices made from nothing: flute, clarinet, cello and two violins, playing one piece together.

No recording of anyone is in it. Each note is a sum of harmonics with the instrument's own spectrum and resonances,
vibrato, attack and decay, and the noise of bow or breath. The players share key and bar, so that their partials meet as
they do in music. `simulate_quintet` puts them into a room (pyroomacoustics' image-source model), a spot microphone at
each and three for the room, and keeps what each alone brings to each: what multichannel models are scored on.

`score_images` says how near they come: SI-SDR, and BSS Eval (Vincent, Gribonval and Févotte, IEEE TASLP 14, 2006) as
computed by fast_bss_eval (Scheibler, ICASSP 2022), a development dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import fast_bss_eval
import numpy as np
import pyroomacoustics
import torch
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from divisi_workshop.metrics import si_sdr_db

Array = NDArray[np.float64]

QUINTET = ("flute", "clarinet", "cello", "violin_1", "violin_2")

# Natural minor on D, as steps above the tonic.
_SCALE = (0, 2, 3, 5, 7, 8, 10)
_TONIC = 62
_BEAT_SECONDS = 0.5
_NOTE_BEATS = (0.5, 0.5, 1.0, 1.0, 1.5, 2.0)
_REST_SHARE = 0.12
_HIGHEST_HARMONIC_HZ = 14_000.0
_MOST_HARMONICS = 40
_LEVEL = 0.1


@dataclass(frozen=True)
class Instrument:
    """How one instrument sounds.

    Attributes:
        lowest, highest: range, MIDI.
        slope_db: fall of the harmonics per octave.
        even_db: of even harmonics against odd ones.
        resonances_hz: peaks of the body or the bore, each lifted by some decibels.
        vibrato_semitones, vibrato_hz: depth and rate.
        attack_seconds: of a note.
        noise_db: bow or breath against the tone.
    """

    lowest: int
    highest: int
    slope_db: float
    even_db: float
    resonances_hz: tuple[float, ...]
    vibrato_semitones: float
    vibrato_hz: float
    attack_seconds: float
    noise_db: float


INSTRUMENTS = {
    "flute": Instrument(72, 91, -12.0, 0.0, (800.0, 1600.0), 0.15, 5.0, 0.06, -26.0),
    "clarinet": Instrument(57, 79, -7.0, -16.0, (1200.0, 3200.0), 0.03, 4.5, 0.04, -34.0),
    "cello": Instrument(38, 62, -6.0, 0.0, (230.0, 500.0, 2000.0), 0.25, 5.6, 0.07, -30.0),
    "violin_1": Instrument(62, 88, -5.5, 0.0, (460.0, 1050.0, 2600.0), 0.3, 6.1, 0.05, -30.0),
    "violin_2": Instrument(57, 79, -6.5, 0.0, (420.0, 950.0, 2900.0), 0.25, 5.7, 0.06, -30.0),
}


def play_quintet(seconds: float, sample_rate: int, seed: int) -> NDArray[np.float32]:
    """All five, dry, each at the same level while it plays.

    Args:
        seconds: length.
        sample_rate: Hz.
        seed: of melodies and performance.

    Returns:
        float32 (5, T), in the order of QUINTET.
    """
    return np.stack(
        [play(INSTRUMENTS[name], seconds, sample_rate, [seed, place]) for place, name in enumerate(QUINTET)]
    )


def play(instrument: Instrument, seconds: float, sample_rate: int, seed: list[int]) -> NDArray[np.float32]:
    """One instrument's melody: float32 (T,)."""
    rng = np.random.default_rng(seed)
    num_samples = round(seconds * sample_rate)
    sound = np.zeros(num_samples)
    position, step = 0.0, int(rng.integers(0, 3 * len(_SCALE)))
    while position < seconds:
        beats = float(rng.choice(_NOTE_BEATS))
        step = step + int(rng.integers(-3, 4))
        if rng.random() > _REST_SHARE:
            start = round(position * sample_rate)
            note = _note(instrument, _pitch(instrument, step), beats * _BEAT_SECONDS, sample_rate, rng)
            sound[start : start + len(note)] += note[: num_samples - start]
        position += beats * _BEAT_SECONDS
    is_played = np.abs(sound) > 1e-4 * (np.abs(sound).max() or 1.0)
    level = np.sqrt(np.mean(np.square(sound[is_played]))) if is_played.any() else 1.0
    return (_LEVEL / level * sound).astype(np.float32)


def _pitch(instrument: Instrument, step: int) -> float:
    """A step of the scale, brought into the instrument's range by octaves."""
    octave, degree = divmod(step, len(_SCALE))
    pitch = _TONIC + 12 * octave + _SCALE[degree]
    while pitch > instrument.highest:
        pitch -= 12
    while pitch < instrument.lowest:
        pitch += 12
    return float(pitch)


def _note(instrument: Instrument, pitch: float, seconds: float, sample_rate: int, rng: np.random.Generator) -> Array:
    """One note and its release: (T,)."""
    release_seconds = 0.08
    times = np.arange(round((seconds + release_seconds) * sample_rate)) / sample_rate
    vibrato = instrument.vibrato_semitones * np.clip(times / 0.3, 0, 1)
    wave = vibrato * np.sin(2 * np.pi * (instrument.vibrato_hz * times + rng.random()))
    f0_hz = 440.0 * 2 ** ((pitch + rng.normal(0, 0.05) + wave - 69) / 12)
    phase = 2 * np.pi * np.cumsum(f0_hz) / sample_rate
    # The tone swells a little and grows brighter as it grows louder.
    attack = 1 - np.exp(-times / (instrument.attack_seconds / 2))
    gain = attack * np.exp(-0.6 * times) * np.clip((seconds + release_seconds - times) / release_seconds, 0, 1)
    tone = np.zeros(len(times))
    mean_hz = float(f0_hz.mean())
    for harmonic in range(1, _MOST_HARMONICS + 1):
        if harmonic * mean_hz > min(_HIGHEST_HARMONIC_HZ, 0.45 * sample_rate):
            break
        amplitude = 10 ** (_harmonic_db(instrument, harmonic, mean_hz) / 20)
        brightening = gain ** (1 + 0.04 * (harmonic - 1))
        tone += amplitude * brightening * np.sin(harmonic * phase + 2 * np.pi * rng.random())
    noise = _coloured_noise(instrument, len(times), sample_rate, rng) * gain
    tone_level = np.sqrt(np.mean(tone**2)) or 1.0
    return (tone / tone_level + 10 ** (instrument.noise_db / 20) * noise) * 10 ** (rng.normal(0, 1.5) / 20)


def _harmonic_db(instrument: Instrument, harmonic: int, f0_hz: float) -> float:
    level_db = instrument.slope_db * np.log2(harmonic) + (instrument.even_db if harmonic % 2 == 0 else 0.0)
    octaves = np.log2(harmonic * f0_hz / np.array(instrument.resonances_hz))
    return float(level_db + 8.0 * np.exp(-0.5 * (octaves / 0.25) ** 2).sum())


def _coloured_noise(instrument: Instrument, num_samples: int, sample_rate: int, rng: np.random.Generator) -> Array:
    """Noise of power one around the instrument's upper resonances: (T,)."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequencies_hz = np.maximum(np.fft.rfftfreq(num_samples, 1 / sample_rate), 20.0)
    octaves = np.log2(frequencies_hz / instrument.resonances_hz[-1])
    noise = np.fft.irfft(spectrum * np.exp(-0.5 * (octaves / 1.2) ** 2), num_samples)
    return np.asarray(noise / (np.sqrt(np.mean(noise**2)) or 1.0))


Images = NDArray[np.float32]

NUM_SPOTS = len(QUINTET)
NUM_ROOM_MICROPHONES = 3
# The published set-up's order: five spots, then room left, centre, right.
NUM_MICROPHONES = NUM_SPOTS + NUM_ROOM_MICROPHONES
_NOISE_DB = -60.0
_PEAK = 0.8


@dataclass(frozen=True)
class QuintetRoom:
    """One recording with its true images.

    Attributes:
        rt60_seconds: of the room.
        sample_rate: Hz.
        images: float32 (S, C, T), source by microphone.
        mixture: float32 (C, T), their sum and a little noise of the microphones.
    """

    rt60_seconds: float
    sample_rate: int
    images: Images
    mixture: NDArray[np.float32]


def simulate_quintet(rt60_seconds: float, seconds: float, sample_rate: int, seed: int) -> QuintetRoom:
    """A room of its own size, with players and microphones a little elsewhere, for each seed."""
    rng = np.random.default_rng([seed, 7])
    dry = play_quintet(seconds, sample_rate, seed)
    responses = _responses(rt60_seconds, sample_rate, rng)
    num_samples = dry.shape[1]
    images = np.empty((NUM_SPOTS, NUM_MICROPHONES, num_samples), np.float32)
    for source in range(NUM_SPOTS):
        for microphone in range(NUM_MICROPHONES):
            wet = oaconvolve(dry[source], responses[microphone][source])
            images[source, microphone] = wet[:num_samples]
    clean = images.sum(axis=0)
    noise = rng.standard_normal(clean.shape) * 10 ** (_NOISE_DB / 20) * np.sqrt(np.mean(np.square(clean)))
    mixture = clean + noise.astype(np.float32)
    scale = np.float32(_PEAK / np.abs(mixture).max())
    return QuintetRoom(rt60_seconds, sample_rate, images * scale, mixture * scale)


def _responses(rt60_seconds: float, sample_rate: int, rng: np.random.Generator) -> list[list[Array]]:
    """Impulse responses, by microphone and player."""
    size = np.array([8.0, 6.5, 3.2]) * rng.uniform(0.9, 1.15, 3)
    absorption, max_order = pyroomacoustics.inverse_sabine(rt60_seconds, size)
    room = pyroomacoustics.ShoeBox(
        size, fs=sample_rate, materials=pyroomacoustics.Material(absorption), max_order=max_order
    )
    players, microphones = _places(size, rng)
    for player in players:
        room.add_source(player)
    room.add_microphone_array(microphones.T)
    room.compute_rir()
    return [[np.asarray(response) for response in row] for row in room.rir]


def _places(size: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Players in a half circle, a spot half a metre before each, the room's microphones before them all, (n, 3)."""
    centre = np.array([size[0] / 2, size[1] * 0.55, 1.2])
    angles = np.deg2rad(np.linspace(160, 20, NUM_SPOTS) + rng.normal(0, 3, NUM_SPOTS))
    outwards = np.stack([np.cos(angles), np.sin(angles), np.zeros(NUM_SPOTS)], axis=1)
    players = centre + 1.7 * outwards + rng.normal(0, 0.05, (NUM_SPOTS, 3))
    spots = players - rng.uniform(0.4, 0.6, (NUM_SPOTS, 1)) * outwards + np.array([0, 0, 0.2])
    left_to_right = np.array([[-0.8, 0, 0], [0, 0, 0], [0.8, 0, 0]])
    distant = centre + np.array([0, -1.8, 0.8]) + left_to_right + rng.normal(0, 0.03, (3, 3))
    return players, np.concatenate([spots, distant])


# Of the filters that BSS Eval forgives: its own number.
FILTER_LENGTH = 512


@dataclass(frozen=True)
class ImageScores:
    """All in dB, float64 (S,), sources in the order of the references.

    Attributes:
        recording_si_sdr: of the microphone itself, taken as the estimate.
        si_sdr, sdr, sir, sar: of the estimate.
    """

    recording_si_sdr: NDArray[np.float64]
    si_sdr: NDArray[np.float64]
    sdr: NDArray[np.float64]
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]

    @property
    def improvement(self) -> float:
        """Mean SI-SDR improvement over the microphones."""
        return float((self.si_sdr - self.recording_si_sdr).mean())


def score_images(
    estimates: NDArray[np.floating],
    images: NDArray[np.floating],
    mixture: NDArray[np.floating],
    channels: Sequence[int],
    *,
    finds_order: bool = False,
) -> ImageScores:
    """Scores estimates at the microphone of each source.

    Args:
        estimates: (S, C, T).
        images: (S, C, T), the true ones.
        mixture: (C, T), the recording.
        channels: of each source the microphone that stands nearest.
        finds_order: take the estimates in whatever order scores best, as blind systems are scored.
    """
    places = range(len(images))
    if finds_order:
        table = np.array(
            [[si_sdr_db(estimate[channels[s]], images[s, channels[s]]) for s in places] for estimate in estimates]
        )
        order = max(permutations(places), key=lambda order: sum(table[order[s], s] for s in places))
        estimates = estimates[list(order)]
    reference = np.stack([images[s, channels[s]] for s in places]).astype(np.float64)
    estimate = np.stack([estimates[s, channels[s]] for s in places]).astype(np.float64)
    # As tensors: its numpy way fails with numpy 2.
    ratios = fast_bss_eval.bss_eval_sources(
        torch.from_numpy(reference), torch.from_numpy(estimate), filter_length=FILTER_LENGTH, compute_permutation=False
    )
    sdr, sir, sar = (ratio.numpy() for ratio in ratios)
    recording = np.array([si_sdr_db(mixture[channels[s]], images[s, channels[s]]) for s in places])
    return ImageScores(recording, si_sdr_db(estimate, reference), sdr, sir, sar)
