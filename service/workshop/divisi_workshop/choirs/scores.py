"""Scores made up from a seed, for what chorales lack, and other textures from one score.

Close harmony, plain songs in chords, free counterpoint: none is good music; all have the intervals, rhythms and voice
leading that a separator must cope with. A score is (sixteenths, 4) MIDI pitches, soprano first, as in the chorales.
Textures are late entries, solos and duets, doublings, ornaments, held notes and breaths: each works on the pitches
(4, L) of a `Melody` on the label grid.
"""

import numpy as np

from divisi_workshop.choirs.melodies import FRAME_RATE, REST, Melody, fits

RANGES = ((60, 79), (55, 72), (48, 67), (41, 60))
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
CONSONANCES = frozenset({0, 3, 4, 7, 8, 9})

# Steps of the scale that chords stand on, and where each likes to go.
PROGRESSIONS = {0: (0, 3, 4, 5, 1), 1: (4, 6), 2: (5, 3), 3: (0, 4, 1), 4: (0, 5, 3), 5: (3, 1, 4), 6: (0, 2)}
RHYTHMS = ((4,), (4, 4), (8,), (2, 2, 4), (6, 2), (4, 2, 2), (2, 2, 2, 2), (12, 4), (3, 1, 4), (1, 1, 2, 4))
SEMITONE_STEPS = (-2, -1, 1, 2)


def draw_score(rng: np.random.Generator, sixteenths: int = 256) -> np.ndarray:
    """A score of one of the kinds. Shape: (sixteenths, 4)."""
    scale = tuple((np.array(MAJOR if rng.random() < 0.6 else MINOR) + int(rng.integers(12))) % 12)
    kinds = (counterpoint, close_harmony, hymn)
    return kinds[int(rng.integers(len(kinds)))](rng, scale, sixteenths)


def counterpoint(rng: np.random.Generator, scale: tuple[int, ...], sixteenths: int) -> np.ndarray:
    """Four walks in rhythms of their own, that prefer steps and consonances with whoever sounds. Bass decides first."""
    score = np.full((sixteenths, 4), -1)
    ends, current = [0] * 4, [int(rng.choice(notes_in(scale, *limits))) for limits in RANGES]
    for now in range(sixteenths):
        for voice in (3, 0, 2, 1):
            if ends[voice] == now:
                others = [current[other] for other in range(4) if other != voice]
                current[voice] = next_note(rng, scale, voice, current[voice], others)
                ends[voice] = now + int(rng.choice([1, 2, 4, 6, 8, 16], p=[0.04, 0.2, 0.4, 0.06, 0.22, 0.08]))
        score[now] = current
    return score


def next_note(rng: np.random.Generator, scale: tuple[int, ...], voice: int, last: int, others: list[int]) -> int:
    """A near note of the scale in the voice's range; dissonances, leaps, crossings and unisons are rare."""
    candidates = notes_in(scale, max(last - 8, RANGES[voice][0]), min(last + 8, RANGES[voice][1]))
    weights = np.exp(-0.45 * np.abs(candidates - last) - 0.8 * (candidates == last))
    for position, other in enumerate(others):
        is_above = position < voice
        dissonant = np.array([abs(note - other) % 12 not in CONSONANCES for note in candidates])
        crossing = candidates > other if is_above else candidates < other
        weights *= np.where(dissonant, 0.15, 1.0) * np.where(crossing, 0.1, 1.0) * np.where(candidates == other, 0.3, 1)
    return int(rng.choice(candidates, p=weights / weights.sum()))


def close_harmony(rng: np.random.Generator, scale: tuple[int, ...], sixteenths: int) -> np.ndarray:
    """Barbershop's way: four-note chords, often with a seventh, as near to each other as can be, all in one rhythm."""
    top = int(rng.integers(64, 74))
    rows: list[list[int]] = []
    degree = 0
    while len(rows) < sixteenths:
        degree = int(rng.choice(PROGRESSIONS[degree]))
        chord = chord_notes(scale, degree, with_seventh=rng.random() < 0.6)
        for duration in RHYTHMS[int(rng.integers(len(RHYTHMS)))]:
            top = nearest(chord, float(np.clip(top + rng.integers(-4, 5), 62, 76)))
            upper = [top]
            while len(upper) < 3:
                upper.append(below(chord, upper[-1]))
            bass = nearest(chord[:1] if rng.random() < 0.7 else chord[2:3], 48)
            rows += [[*upper, min(bass, upper[-1])]] * duration
    return np.array(rows[:sixteenths])


def hymn(rng: np.random.Generator, scale: tuple[int, ...], sixteenths: int) -> np.ndarray:
    """A tune over chords: the tune moves, the others hold the chord, in open or close position, and repeat phrases."""
    tune = int(rng.choice(notes_in(scale, 64, 74)))
    centres = (0, int(rng.integers(58, 67)), int(rng.integers(51, 60)), int(rng.integers(43, 53)))
    together = rng.random() < 0.5
    rows: list[list[int]] = []
    degree = 0
    while len(rows) < sixteenths:
        degree = int(rng.choice(PROGRESSIONS[degree]))
        chord = chord_notes(scale, degree, with_seventh=rng.random() < 0.15)
        held = [nearest(chord, centre + rng.integers(-2, 3)) for centre in centres[1:]]
        held[2] = nearest(chord[:1], centres[3])
        for duration in RHYTHMS[int(rng.integers(len(RHYTHMS)))]:
            near = notes_in(chord if rng.random() < 0.6 else scale, max(tune - 5, 60), min(tune + 5, 79))
            tune = int(rng.choice(near))
            lower = [nearest(chord, note + rng.integers(-3, 4)) for note in held] if together else held
            rows += [[tune, *lower]] * duration
        if len(rows) >= 64 and rng.random() < 0.15:
            rows += rows[-64:]
    return np.array(rows[:sixteenths])


def notes_in(pitch_classes: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """All pitches of some classes from low to high; the whole stretch where there are none."""
    notes = np.arange(low, high + 1)
    inside = np.isin(notes % 12, pitch_classes)
    return notes[inside] if inside.any() else notes


def chord_notes(scale: tuple[int, ...], degree: int, with_seventh: bool) -> tuple[int, ...]:
    """Pitch classes of the chord on a step of the scale, root first."""
    return tuple(int(scale[(degree + third) % 7]) for third in ((0, 2, 4, 6) if with_seventh else (0, 2, 4)))


def nearest(pitch_classes: tuple[int, ...], pitch: float | np.integer) -> int:
    """The pitch of one of the classes that is closest."""
    notes = notes_in(pitch_classes, round(pitch) - 7, round(pitch) + 7)
    return int(notes[np.abs(notes - pitch).argmin()])


def below(pitch_classes: tuple[int, ...], pitch: int) -> int:
    """The next pitch of the classes further down."""
    return int(notes_in(pitch_classes, pitch - 12, pitch - 1)[-1])


def draw_texture(rng: np.random.Generator, melody: Melody) -> np.ndarray:
    """The melody's pitches in another texture, or as they are where no throat could sing the result. Shape: (4, L)."""
    midi = melody.midi
    changes = ((0.2, stagger), (0.15, hold_one), (0.25, ornament), (0.15, double), (0.4, let_some_rest), (0.5, breathe))
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
