"""Renders the sample recording: two phrases of a Bach chorale by four voices that never lived, and the true sources.

    python -m divisi_workshop.choirs.sample_chorale [FOLDER]

The score is `sample_chorale.yaml` beside this file. Writes chorale.flac and soprano, alto, tenor and bass .flac,
stereo, 44.1 kHz, 16 bit, into the package's folder. The sources add up to the mixture to the last bit.
"""

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

from divisi.sample import MIXTURE, SOURCES, sample_folder
from divisi_workshop.choirs.formant_voices import sing
from divisi_workshop.choirs.singer import Note, draw_singer

SAMPLE_RATE = 44_100
SECONDS_PER_QUARTER = 0.6
TAIL_SECONDS = 0.6
PEAK = 0.7
SEED = 1729

# Left to right, as a quartet stands; 0 is the middle.
PLACES = {"soprano": -0.6, "alto": -0.2, "tenor": 0.2, "bass": 0.6}

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def render() -> dict[str, NDArray[np.int16]]:
    """The five recordings by name: int16 `(T, 2)`."""
    sources = {}
    for number, voice in enumerate(SOURCES):
        notes = [*read_notes(voice), Note(None, TAIL_SECONDS)]
        sung = sing(notes, draw_singer(voice, SEED), SAMPLE_RATE, seed=SEED + number)
        sources[voice] = place_in_room(sung.samples, PLACES[voice], seed=SEED + 10 + number)
    # One gain for all, from the mixture's peak.
    gain = PEAK * 32_767 / np.max(np.abs(np.sum(list(sources.values()), axis=0)))
    words = {voice: np.rint(gain * source).astype(np.int16) for voice, source in sources.items()}
    return {MIXTURE: np.sum(list(words.values()), axis=0, dtype=np.int16), **words}


def read_notes(voice: str) -> list[Note]:
    """What a voice sings."""
    score = yaml.safe_load(resources.files(__package__).joinpath("sample_chorale.yaml").read_text("utf-8"))
    notes = []
    words = iter(score[voice].split())
    for pitch in words:
        seconds = float(next(words)) * SECONDS_PER_QUARTER
        if pitch == "-":
            notes.append(Note(None, seconds))
        else:
            consonant, vowels = next(words).split(":")
            notes.append(Note(midi_of(pitch), seconds, consonant, vowels))
    return notes


def midi_of(pitch: str) -> int:
    """MIDI number of a name such as `C#4`; C4 is 60."""
    accidental = pitch.count("#") - pitch.count("b")
    return 12 * (int(pitch[-1]) + 1) + _SEMITONES[pitch[0]] + accidental


def place_in_room(samples: NDArray[np.float32], place: float, seed: int) -> NDArray[np.float64]:
    """A voice at a place in a small room.

    Louder and earlier on its side, a few reflections, and a quiet tail that dies in 0.7 s, treble first.

    Shape: `(T,)` -> `(T, 2)`.
    """
    rng = np.random.default_rng(seed)
    length = round(0.7 * SAMPLE_RATE)
    seconds = np.arange(length) / SAMPLE_RATE
    responses = np.zeros((2, length))
    for ear, side in enumerate((-1, 1)):
        nearness = side * place
        responses[ear, round((0.0004 - 0.0003 * nearness) * SAMPLE_RATE)] = 10 ** (2.5 * nearness / 20)
        for _ in range(4):
            responses[ear, rng.integers(round(0.006 * SAMPLE_RATE), round(0.03 * SAMPLE_RATE))] += rng.normal(0, 0.12)
        tail = np.convolve(rng.standard_normal(length), np.hanning(12) / 6, mode="same") * np.exp(-6.9 * seconds / 0.7)
        tail[seconds < 0.02] = 0
        responses[ear] += 10 ** (-9 / 20) * tail / np.sqrt(np.sum(tail**2))
    size = len(samples) + length
    spectrum = np.fft.rfft(samples, size)
    return np.fft.irfft(spectrum * np.fft.rfft(responses, size), size)[:, : len(samples)].T


def main() -> None:
    """Writes the files into the folder named on the command line, or into the package."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else sample_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in render().items():
        with soundfile.SoundFile(
            folder / f"{name}.flac", "w", SAMPLE_RATE, 2, format="FLAC", subtype="PCM_16", compression_level=1.0
        ) as file:
            file.write(words)


if __name__ == "__main__":
    main()
