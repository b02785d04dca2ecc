"""Choirs of guests: single singers and speakers, taken apart by WORLD, sing chorales and hymns, several takes a part.

    python -m divisi_workshop.choirs.guest_choirs --data DATA --voices CACHE/guest_voices --out CACHE/guests --count 80

DATA holds `voices/` and `speech/` (clips of single people, one folder each or one prefix each), `chorales/` and
`hymns/`. Half of the choirs are formant singers, who never lived. The guests named in HELD_BACK are for validation and
sing only with `--held-back`, on scores that are kept back as well. What is made is as private as its recordings.

Every choir is one file a part, each channel a take of it: singers with words, tuning, vibrato and timing of their own.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from divisi_workshop.choirs.formant_voices import SINGER_SEEDS, to_notes
from divisi_workshop.choirs.formant_voices import sing as sing_formants
from divisi_workshop.choirs.melodies import REST, STYLES, draw_melody
from divisi_workshop.choirs.scores import draw_score, draw_texture
from divisi_workshop.choirs.singer import draw_singer
from divisi_workshop.choirs.speech_voices import SpeechVoice, analyse_speech, load_voice, save_voice
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, load_chorales
from divisi_workshop.choirs.wide_choirs import speak
from divisi_workshop.choirs.world_voices import breathier, evened, scaled, sing, tilted

HELD_BACK = ("torone_rei", "p228", "p226", "vocadito_1")
"""In score order: two women, two men."""
VOICE_SECONDS = 60.0
LEVEL = 0.06
HYMN_STEP_BEATS = 0.25
KEPT_HYMN = 10
"""Every tenth hymn is kept for validation."""


@dataclass(frozen=True)
class GuestOptions:
    """Shares are probabilities."""

    seconds: float = 10.0
    takes: int = 2
    formant_share: float = 0.35
    same_singer_share: float = 0.5
    """How often the takes of a part are one voice that varies, in place of several people."""
    hymn_share: float = 0.35
    made_up_share: float = 0.2
    texture_share: float = 0.4


def guest_clips(data: Path) -> dict[str, list[Path]]:
    """The clips of every guest by name: a folder of `voices`, a speaker of `speech`."""
    clips = {folder.name: sorted(folder.glob("*.flac")) for folder in sorted((data / "voices").iterdir())}
    for path in sorted((data / "speech" / "vctk").glob("*.flac")):
        clips.setdefault(path.name.partition("__")[0], []).append(path)
    for folder in sorted((data / "speech" / "prompts").iterdir()):
        clips[f"prompts_{folder.name}"] = sorted(folder.glob("*.flac"))
    return {name: paths for name, paths in clips.items() if paths}


def analyse_guest(rng: np.random.Generator, clips: Sequence[Path]) -> SpeechVoice:
    """One voice from clips in random order, each at the same peak."""
    gathered: list[np.ndarray] = []
    for place in rng.permutation(len(clips)):
        samples, sample_rate = soundfile.read(clips[place], dtype="float64")
        if sample_rate != SAMPLE_RATE or samples.ndim != 1:
            raise ValueError(f"{clips[place]}: expected {SAMPLE_RATE} Hz mono, found {sample_rate} Hz")
        gathered.append(0.5 * samples / max(float(np.abs(samples).max()), 1e-9))
        if sum(map(len, gathered)) > VOICE_SECONDS * SAMPLE_RATE:
            break
    return analyse_speech(np.concatenate(gathered)[: round(VOICE_SECONDS * SAMPLE_RATE)])


def load_guests(data: Path, cache: Path) -> dict[str, SpeechVoice]:
    """All guests, taken apart once."""
    guests = {}
    for name, clips in tqdm(guest_clips(data).items(), desc="analysing"):
        path = cache / f"{name}.npz"
        if not path.exists():
            save_voice(path, analyse_guest(np.random.default_rng(list(name.encode())), clips))
        guests[name] = load_voice(path)
    return guests


def load_hymns(path: Path, is_kept: bool) -> list[np.ndarray]:
    """Hymns as chorales are, (sixteenths, 4) MIDI pitches; where a voice divides, its last note."""
    hymns = []
    for number, (_, voices) in enumerate(sorted(json.loads(path.read_text()).items())):
        if (number % KEPT_HYMN == 0) is is_kept:
            steps = round(max(note[1] for voice in voices for note in voice) / HYMN_STEP_BEATS)
            score = np.full((steps, 4), REST)
            for part, voice in enumerate(voices):
                for begin, end, pitch in voice:
                    score[round(begin / HYMN_STEP_BEATS) : round(end / HYMN_STEP_BEATS), part] = pitch
            hymns.append(score)
    return hymns


def make_choir(
    rng: np.random.Generator,
    guests: Sequence[Sequence[SpeechVoice]],
    chorales: Sequence[np.ndarray],
    hymns: Sequence[np.ndarray],
    options: GuestOptions,
) -> list[np.ndarray]:
    """One choir: takes (takes, T) of every part. `guests`: who may sing each part."""
    way = rng.random()
    scores = hymns if way < options.hymn_share else chorales
    if way > 1 - options.made_up_share:
        scores = [draw_score(rng)]
    melody = draw_melody(rng, scores, options.seconds)
    midi = draw_texture(rng, melody) if rng.random() < options.texture_share else melody.midi
    is_formant = rng.random() < options.formant_share
    text_seed = int(rng.integers(2**31)) if rng.random() < 0.6 else None
    parts = []
    for part, notes in enumerate(midi):
        if not (notes != REST).any():
            parts.append(np.zeros((options.takes, round(options.seconds * SAMPLE_RATE)), np.float32))
        elif is_formant:
            parts.append(formant_takes(rng, text_seed, VOICES[part], notes, options))
        else:
            parts.append(guest_takes(rng, part, guests[part], notes, options))
    return parts


def formant_takes(
    rng: np.random.Generator, text_seed: int | None, voice: str, midi: np.ndarray, options: GuestOptions
) -> np.ndarray:
    """Formant singers with the same words. Shape: (takes, T)."""
    text_seed = int(rng.integers(2**31)) if text_seed is None else text_seed
    notes = to_notes(np.random.default_rng(text_seed), midi)
    takes = []
    for _ in range(options.takes):
        singer = draw_singer(voice, int(rng.integers(*SINGER_SEEDS)))
        takes.append(sing_formants(notes, singer, SAMPLE_RATE, int(rng.integers(2**31))).samples)
    return levelled(takes, round(options.seconds * SAMPLE_RATE))


def guest_takes(
    rng: np.random.Generator, part: int, guests: Sequence[SpeechVoice], midi: np.ndarray, options: GuestOptions
) -> np.ndarray:
    """Guests on one part: one voice that varies, or several people, each with words of their own. Shape: (takes, T)."""
    is_same = rng.random() < options.same_singer_share
    spoken = None
    takes = []
    for _ in range(options.takes):
        if spoken is None or not is_same:
            guest = guests[int(rng.integers(len(guests)))]
            timbre, gain = speak(rng, guest, part, len(midi))
            timbre = evened(timbre, midi, rng.uniform(0.5, 0.95))
            timbre = breathier(tilted(timbre, rng.normal(0, 2)), float(np.clip(rng.normal(0.05, 0.15), 0, 0.5)))
            spoken = timbre, gain
        one = tilted(scaled(spoken[0], float(np.exp(rng.normal(0, 0.04)))), rng.normal(0, 1.0))
        style = replace(STYLES[int(rng.integers(len(STYLES)))], tuning_cents=rng.normal(0, 6))
        samples, _ = sing(rng, one, midi, np.arange(len(midi)), spoken[1], style)
        takes.append(samples)
    return levelled(takes, round(options.seconds * SAMPLE_RATE))


def levelled(takes: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Takes of one length and loudness while they sound. Shape: (takes, length)."""
    whole = np.zeros((len(takes), length), np.float32)
    for row, take in zip(whole, takes, strict=True):
        row[: len(take)] = take[:length]
        sounding = np.abs(row) > 1e-3 * max(float(np.abs(row).max()), 1e-9)
        if sounding.any():
            row *= LEVEL / np.sqrt(np.mean(row[sounding] ** 2))
    return whole


def who_sings(guests: dict[str, SpeechVoice], are_held_back: bool) -> list[list[SpeechVoice]]:
    """Guests for every part. To learn from, any may sing any; those held back have a part each."""
    if are_held_back:
        return [[guests[name]] for name in HELD_BACK]
    others = [guest for name, guest in guests.items() if name not in HELD_BACK]
    return [others] * len(VOICES)


def save_choir(folder: Path, number: int, parts: Sequence[np.ndarray]) -> None:
    """One file a part; that of the bass, written last, says that all are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for voice, takes in zip(VOICES, parts, strict=True):
        partial = folder / f"choir_{number:05d}_{voice}.partial"
        clipped = np.clip(takes.T, -0.99, 0.99)
        soundfile.write(partial, clipped, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
        partial.replace(partial.with_suffix(".flac"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--voices", type=Path, required=True, help="where voices taken apart are kept")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-back", action="store_true", help="the guests and scores that are kept for validation")
    given = parser.parse_args()
    guests = who_sings(load_guests(given.data, given.voices), given.held_back)
    chorales = load_chorales(given.data / "chorales" / "jsb_satb_16ths.json", "valid" if given.held_back else "train")
    hymns = load_hymns(given.data / "hymns" / "satb_notes.json", given.held_back)
    options = GuestOptions(formant_share=0.0, made_up_share=0.0) if given.held_back else GuestOptions()
    for number in tqdm(range(given.count), desc="singing", mininterval=20):
        if not (given.out / f"choir_{number:05d}_bass.flac").exists():
            rng = np.random.default_rng((given.seed, number, given.held_back))
            save_choir(given.out, number, make_choir(rng, guests, chorales, hymns, options))


if __name__ == "__main__":
    main()
