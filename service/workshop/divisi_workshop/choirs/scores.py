"""Scores made up from a seed, for what chorales lack: close harmony, plain songs in chords, free counterpoint.

None is good music; all have the intervals, rhythms and voice leading that a separator must cope with. A score is
(sixteenths, 4) MIDI pitches, soprano first, as in the chorales.
"""

import numpy as np

RANGES = ((60, 79), (55, 72), (48, 67), (41, 60))
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
CONSONANCES = frozenset({0, 3, 4, 7, 8, 9})

# Steps of the scale that chords stand on, and where each likes to go.
PROGRESSIONS = {0: (0, 3, 4, 5, 1), 1: (4, 6), 2: (5, 3), 3: (0, 4, 1), 4: (0, 5, 3), 5: (3, 1, 4), 6: (0, 2)}
RHYTHMS = ((4,), (4, 4), (8,), (2, 2, 4), (6, 2), (4, 2, 2), (2, 2, 2, 2), (12, 4), (3, 1, 4), (1, 1, 2, 4))


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
