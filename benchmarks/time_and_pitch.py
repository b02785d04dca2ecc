"""How well voices are transposed and slowed down: by divisi's own engine, and by python-stretch where it is installed.

    python benchmarks/time_and_pitch.py [--out listening]

Synthetic singers sing at a pitch, and once more at the target pitch: that is what a transposed voice should sound like.
Printed for each engine:

- fundamental: worst error of steady notes, in cents;
- vowels: worst shift of the resonances of a voice by so many semitones, in percent: the stretch of the frequency axis
  that fits the partials' levels in five vowels best to those of the same notes sung at the target;
- distance: log-spectral, in dB, to the melody sung at the target: 64 bands from 60 Hz to 8 kHz, 20 ms;
- early: energy of a struck note in the 55 ms before it begins, against the 60 ms after it, at 80 %;
- apart: how far a click after 60 s is from where it should be, and in one track from the others, at 80 %;
- speed: seconds of audio a second, five tracks of stereo at once, at 80 % and 3 semitones down.

`--out` writes what was heard, and a page to listen to it. Bars for divisi's own: 3 cents, 5 %, 1 ms.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from divisi.tracks.time_and_pitch import TimeAndPitch
from divisi_workshop.choirs.formant_voices import sing
from divisi_workshop.choirs.singer import Note, SingerTraits, draw_singer

try:
    from python_stretch import Signalsmith
except ImportError:
    Signalsmith = None

SAMPLE_RATE = 44_100
SEMITONES = (-5, -3, 2, 3, 5)
BARS = {"fundamental": 3.0, "vowels -3": 5.0, "vowels +3": 5.0, "apart": 1.0}
_UNITS = {"fundamental": "cents", "distance": "dB", "early": "dB", "apart": "ms", "speed": "x real time"}
# In the middle of what each sings.
_MIDDLE = {"soprano": 70, "alto": 64, "tenor": 57, "bass": 47}
_VOWELS = "aeiou"
_NOTE_SECONDS = 1.5
_HIGHEST_PARTIAL_HZ = 4_500
# Below the loudest; weaker ones are masked.
_QUIETEST_PARTIAL_DB = 50
_WARPS = np.arange(0.75, 1.35, 0.0025)
_BLOCK_LENGTH = 65_536

Engine = Callable[[np.ndarray, int, float], np.ndarray]
"""Takes float32 (S, C, T), percent, semitones; gives float32 (S, C, T / speed)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for a page to listen to")
    arguments = parser.parse_args()
    engines: dict[str, Engine] = {"divisi": own_engine}
    if Signalsmith is not None:
        engines["python-stretch"] = python_stretch
    is_good = True
    for name, engine in engines.items():
        print(name)
        notes = {(voice, number): _note_errors(engine, voice, number) for voice in _MIDDLE for number in SEMITONES}
        found = {
            "fundamental": max(cents for cents, _ in notes.values()),
            "distance": np.mean([_distance(engine, *note) for note in notes]),
            "early": _early_db(engine),
            "apart": _milliseconds_apart(engine),
            "speed": _speed(engine),
        }
        found |= {f"vowels {number:+d}": max(notes[voice, number][1] for voice in _MIDDLE) for number in SEMITONES}
        for figure, value in found.items():
            bar = f"   (bar {BARS[figure]:g})" if figure in BARS else ""
            print(f"  {figure:12} {value:8.2f} {_UNITS.get(figure, '%')}{bar}")
        if name == "divisi":
            is_good = all(found[figure] <= bar for figure, bar in BARS.items())
    if arguments.out:
        write_page(arguments.out, engines)
    raise SystemExit(0 if is_good else 1)


def own_engine(tracks: np.ndarray, percent: int, semitones: float) -> np.ndarray:
    """divisi's, block by block as it is used."""
    engine = TimeAndPitch(*tracks.shape[:2], SAMPLE_RATE, percent, semitones)
    blocks = [tracks[..., start : start + _BLOCK_LENGTH] for start in range(0, tracks.shape[-1], _BLOCK_LENGTH)]
    return np.concatenate([*map(engine.push, blocks), engine.finish()], axis=-1)


def python_stretch(tracks: np.ndarray, percent: int, semitones: float) -> np.ndarray:
    """Signalsmith Stretch, a track at a time."""
    made = []
    for track in tracks:
        engine = Signalsmith.Stretch(1)
        engine.preset(track.shape[0], SAMPLE_RATE)
        engine.setTimeFactor(percent / 100)
        engine.setTransposeSemitones(semitones)
        made.append(np.asarray(engine.process(np.ascontiguousarray(track))))
    return np.stack(made)


def _note_errors(engine: Engine, voice: str, semitones: int) -> tuple[float, float]:
    """Of five vowels: worst error of the fundamental in cents, and shift of the resonances in percent."""
    singer = steady(draw_singer(voice, 1))
    midi = _MIDDLE[voice]
    source, target = (
        sing([Note(pitch, _NOTE_SECONDS, vowels=vowel) for vowel in _VOWELS], singer, SAMPLE_RATE, 1).samples
        for pitch in (midi, midi + semitones)
    )
    moved = engine(source[None, None], 100, semitones)[0, 0]
    f0_hz = 440 * 2 ** ((midi + semitones - 69) / 12)
    cents, errors = [], np.zeros(len(_WARPS))
    for number in range(len(_VOWELS)):
        middle = slice(*(round((number + share) * _NOTE_SECONDS * SAMPLE_RATE) for share in (0.25, 0.85)))
        pitch, levels = _partials(moved[middle], f0_hz)
        _, wanted = _partials(target[middle], f0_hz)
        cents.append(abs(1200 * np.log2(pitch / f0_hz)))
        errors += _warp_errors(wanted, levels, f0_hz)
    return max(cents), abs(100 * (float(_WARPS[int(errors.argmin())]) - 1))


def steady(singer: SingerTraits) -> SingerTraits:
    """The same voice without anything that moves."""
    still = dict.fromkeys(("vibrato_cents", "tuning_cents", "drift_cents", "jitter_cents", "shimmer_db"), 0.0)
    return replace(singer, **still, lateness_seconds=0.0, breath_db=-60.0)


def _partials(samples: np.ndarray, f0_hz: float) -> tuple[float, np.ndarray]:
    """Pitch in Hz, by the three strongest partials, and levels of all partials in dB."""
    size = 1 << 18
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size)) + 1e-9)
    pitches, levels = [], []
    for number in range(1, int(_HIGHEST_PARTIAL_HZ / f0_hz) + 1):
        low, high = (int((number + side) * f0_hz * size / SAMPLE_RATE) for side in (-0.3, 0.3))
        peak = low + int(spectrum[low:high].argmax())
        left, top, right = spectrum[peak - 1 : peak + 2]
        place = peak + 0.5 * (left - right) / (left - 2 * top + right)
        pitches.append(place * SAMPLE_RATE / size / number)
        levels.append(top)
    strongest = np.argsort(levels)[-3:]
    return float(np.median(np.array(pitches)[strongest])), np.array(levels)


def _warp_errors(wanted: np.ndarray, levels: np.ndarray, f0_hz: float) -> np.ndarray:
    """How far two curves of levels differ, but for a constant, for each stretch of one's frequency axis."""
    frequencies = f0_hz * np.arange(1, len(levels) + 1)
    errors = []
    for warp in _WARPS:
        fitted = np.interp(frequencies / warp, frequencies, wanted)
        inside = (frequencies / warp <= frequencies[-1]) & (frequencies / warp >= frequencies[0])
        heard = inside & (fitted > wanted.max() - _QUIETEST_PARTIAL_DB)
        errors.append(np.var((levels - fitted)[heard]))
    return np.array(errors)


def _distance(engine: Engine, voice: str, semitones: int) -> float:
    source, target = (_melody(voice, number) for number in (0, semitones))
    moved = engine(source[None, None], 100, semitones)[0, 0]
    difference = _bands_db(moved) - _bands_db(target)
    return float(np.sqrt(np.square(difference - difference.mean()).mean(axis=0)).mean())


def _melody(voice: str, semitones: int) -> np.ndarray:
    steps = ((0, "l", "a"), (2, "", "e"), (4, "d", "i"), (5, "n", "o"), (4, "t", "u"), (2, "s", "a"), (0, "m", "@"))
    notes = [Note(_MIDDLE[voice] + semitones + step, 0.7, sound, vowel) for step, sound, vowel in steps]
    return sing(notes, draw_singer(voice, 2), SAMPLE_RATE, 2).samples


def _bands_db(samples: np.ndarray) -> np.ndarray:
    """Levels in 64 bands of equal width in mel from 60 Hz to 8 kHz, each 20 ms, at most 60 dB below the loudest."""
    length, hop = 2_048, 882
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop] * np.hanning(length)
    powers = np.square(np.abs(np.fft.rfft(frames))).T
    edges_mel = np.linspace(*(1127 * np.log(1 + hz / 700) for hz in (60, 8_000)), 66)
    edges = 700 * (np.exp(edges_mel / 1127) - 1) * length / SAMPLE_RATE
    bins = np.arange(len(powers))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    bands = np.maximum(np.minimum(rising, falling), 0) @ powers
    return 10 * np.log10(np.maximum(bands, bands.max() * 1e-6))


def _early_db(engine: Engine) -> float:
    """Of notes that begin at once, 150 Hz, and fade."""
    seconds = np.arange(round(0.6 * SAMPLE_RATE)) / SAMPLE_RATE
    note = sum(np.cos(2 * np.pi * 150 * number * seconds) for number in range(1, 40)) * np.exp(-seconds / 0.15) / 40
    source = np.tile(note, 20).astype(np.float32)
    slowed = engine(source[None, None], 80, 0)[0, 0]
    shares = []
    for number in range(5, 18):
        begin = round(number * len(note) / 0.8)
        before = np.square(slowed[begin - round(0.06 * SAMPLE_RATE) : begin - round(0.005 * SAMPLE_RATE)]).sum()
        after = np.square(slowed[begin : begin + round(0.06 * SAMPLE_RATE)]).sum()
        shares.append(before / after)
    return float(10 * np.log10(np.mean(shares)))


def _milliseconds_apart(engine: Engine) -> float:
    """Four voices, each of its own melody, and a click in all of them at 62 s."""
    place = 62 * SAMPLE_RATE
    tracks = np.zeros((len(_MIDDLE), 1, 63 * SAMPLE_RATE), np.float32)
    for track, voice in zip(tracks, _MIDDLE, strict=True):
        melody = _melody(voice, 0)
        track[0, : 61 * SAMPLE_RATE] = np.resize(melody, 61 * SAMPLE_RATE)
        track[0, place - 20 : place + 21] += 0.5 * np.hanning(41)
    slowed = engine(tracks, 80, 0)[:, 0]
    middle, reach = round(place / 0.8), round(0.1 * SAMPLE_RATE)
    powers = np.square(slowed[:, middle - reach : middle + reach + 1])
    centres = (powers @ np.arange(-reach, reach + 1)) / powers.sum(axis=1)
    return float(max(np.abs(centres).max(), np.ptp(centres)) * 1000 / SAMPLE_RATE)


def _speed(engine: Engine) -> float:
    voices = [np.resize(_melody(voice, 0), 20 * SAMPLE_RATE) for voice in (*_MIDDLE, "alto")]
    tracks = np.stack([np.stack([voice, voice]) for voice in voices]).astype(np.float32)
    began = time.process_time()
    engine(tracks, 80, -3)
    return 20 / (time.process_time() - began)


def write_page(folder: Path, engines: dict[str, Engine]) -> None:
    """Melodies as they were, sung at the target, and moved by each engine."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for voice in _MIDDLE:
        source = _melody(voice, 0)
        for percent, semitones in ((100, 3), (100, -5), (80, 0), (60, -2)):
            cells = {"as it was": source, **({"sung there": _melody(voice, semitones)} if percent == 100 else {})}
            for name, engine in engines.items():
                cells[name] = engine(source[None, None], percent, semitones)[0, 0]
            row = f"<h2>{voice}, {percent} %, {semitones:+d} semitones</h2>"
            for name, samples in cells.items():
                file = f"{voice} {percent} {semitones} {name}.flac"
                soundfile.write(folder / file, samples, SAMPLE_RATE)
                row += f'<p>{name}<br><audio controls preload="none" src="{file}"></audio>'
            rows.append(row)
    (folder / "index.html").write_text("<!doctype html><title>Time and pitch</title>" + "".join(rows), "utf-8")


if __name__ == "__main__":
    main()
