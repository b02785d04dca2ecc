"""Other textures from one score: late entries, solos and duets, doublings, ornaments, held notes, breaths.

Each works on pitches (4, L) of a `Melody` on the label grid, and draws from a seed.
"""

import numpy as np

from divisi_workshop.choirs.melodies import FRAME_RATE, REST, Melody, fits

SEMITONE_STEPS = (-2, -1, 1, 2)


def draw_texture(rng: np.random.Generator, melody: Melody) -> np.ndarray:
    """The melody's pitches in another texture, or as they are where no throat could sing the result. Shape: (4, L)."""
    midi = melody.midi
    changes = (
        (0.2, stagger),
        (0.15, hold_one),
        (0.25, ornament),
        (0.15, double),
        (0.4, let_some_rest),
        (0.5, breathe),
    )
    for chance, change in changes:
        if rng.random() < chance:
            midi = change(rng, midi, melody.quarter_seconds)
    return midi if fits(midi) and (midi != REST).any() else melody.midi


def stagger(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """Voices enter up to 7 beats late."""
    shifted = np.full_like(midi, REST)
    for voice, beats in enumerate(rng.integers(0, 8, 4)):
        late = min(round(beats * quarter_seconds * FRAME_RATE), midi.shape[1] - 1)
        shifted[voice, late:] = midi[voice, : midi.shape[1] - late]
    return shifted


def hold_one(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """A voice stays on one note for up to 16 beats."""
    held = midi.copy()
    voice, start, stop = int(rng.integers(4)), *_stretch(rng, midi.shape[1], quarter_seconds, (6, 17))
    if held[voice, start] != REST:
        held[voice, start:stop] = held[voice, start]
    return held


def ornament(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """A voice or two break into fast notes: turns and runs around what is written."""
    ornate = midi.copy()
    for voice in rng.permutation(4)[: int(rng.integers(1, 3))]:
        start, stop = _stretch(rng, midi.shape[1], quarter_seconds, (4, 17))
        step = max(round(quarter_seconds / rng.choice([2, 3, 4]) * FRAME_RATE), round(0.09 * FRAME_RATE))
        figure = np.concatenate([[0], np.cumsum(rng.choice(SEMITONE_STEPS, int(rng.integers(1, 4))))])
        shift = np.resize(np.repeat(figure, step), stop - start)
        sounding = midi[voice, start:stop] != REST
        ornate[voice, start:stop] += shift * sounding
    return ornate


def double(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """A voice follows another, at the unison or an octave away, for some beats or throughout."""
    doubled = midi.copy()
    leader, follower = rng.permutation(4)[:2]
    start, stop = (0, midi.shape[1]) if rng.random() < 0.3 else _stretch(rng, midi.shape[1], quarter_seconds, (4, 25))
    line = midi[leader, start:stop]
    octaves = 0 if abs(leader - follower) == 1 else np.sign(leader - follower)
    if rng.random() < 0.3:
        octaves += int(rng.integers(-1, 2))
    candidate = doubled.copy()
    candidate[follower, start:stop] = np.where(line == REST, REST, line + 12 * octaves)
    return candidate if fits(candidate) else doubled


def let_some_rest(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """Solos, duets and trios: phrase by phrase, or throughout, only some of the voices sing."""
    thinned = midi.copy()
    throughout = rng.random() < 0.3
    begin = 0
    while begin < midi.shape[1]:
        beats = int(rng.integers(4, 17))
        end = midi.shape[1] if throughout else begin + round(beats * quarter_seconds * FRAME_RATE)
        resting = rng.permutation(4)[: int(rng.choice([0, 1, 2, 3], p=[0.25, 0.25, 0.3, 0.2]))]
        thinned[resting, begin:end] = REST
        begin = end
    return thinned


def breathe(rng: np.random.Generator, midi: np.ndarray, quarter_seconds: float) -> np.ndarray:
    """Short rests where phrases end, together or each voice for itself; now and then notes are cut short throughout."""
    broken = midi.copy()
    together = rng.random() < 0.5
    common = int(rng.integers(2**31))
    detached = rng.random() < 0.15
    for track in broken:
        own = np.random.default_rng(common if together else int(rng.integers(2**31)))
        changes = np.flatnonzero(np.diff(track)) + 1
        moments = changes if detached else own.permutation(changes)[: max(1, len(changes) // 8)]
        for moment in moments:
            length = round(own.uniform(0.06, 0.15 if detached else 0.5) * FRAME_RATE)
            track[max(0, moment - length) : moment] = REST
    return broken


def _stretch(
    rng: np.random.Generator, frame_count: int, quarter_seconds: float, beats: tuple[int, int]
) -> tuple[int, int]:
    """A random stretch of so many beats: first and last frame."""
    length = min(round(int(rng.integers(*beats)) * quarter_seconds * FRAME_RATE), frame_count)
    start = int(rng.integers(0, frame_count - length + 1))
    return start, start + length
