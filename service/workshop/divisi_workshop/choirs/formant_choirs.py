"""Synthetic choirs of voices that never lived: formant singers, each drawn from a seed, sing chorales.

    python -m divisi_workshop.choirs.formant_choirs --chorales JSON --out CACHE/resung --count 300

They join the re-sung choirs of the same folder (see `resung`), and widen what those few real singers cannot give: other
vocal tracts, vibratos, vowels. Every choir is made from its number and the seed alone, so an interrupted run goes on.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from divisi_workshop.choirs.f0_labels import LABEL_HOP_SECONDS
from divisi_workshop.choirs.formant_voices import Note, draw_singer, sing
from divisi_workshop.choirs.melodies import FRAME_RATE, REST, draw_melody
from divisi_workshop.choirs.resung import load_chorales, save_choir
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES
from divisi_workshop.choirs.vocal_tract import CONSONANTS, VOWELS

FIRST_NUMBER = 50_000
"""Numbers of formant choirs begin here; re-sung ones stay below."""

SINGER_SEEDS = (10_000, 1_000_000)
"""Singers of choirs are drawn from these seeds; that of the sample recording is not among them."""

LONGEST_SYLLABLE_SECONDS = 1.6
_SUNG_VOWELS = [vowel for vowel in VOWELS if vowel != "m"]


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
        voices.append(sung.waveform.samples[0])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chorales", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chorales = load_chorales(arguments.chorales, arguments.split)
    for number in tqdm(range(FIRST_NUMBER, FIRST_NUMBER + arguments.count), desc="singing"):
        if not (arguments.out / f"choir_{number:05d}.npz").exists():
            rng = np.random.default_rng((arguments.seed, number))
            save_choir(arguments.out, number, *make_choir(rng, chorales, arguments.seconds))


if __name__ == "__main__":
    main()
