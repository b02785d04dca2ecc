"""True pitches with the errors a pitch tracker makes, for training the masks before there is a tracker."""

import numpy as np


def disturb(rng: np.random.Generator, f0_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jitter, gaps, false alarms, octave slips and stretches of another voice's pitch.

    Shape: (B, 4, N), 0 = unvoiced -> F0 (B, 4, N) positive everywhere, and voicing (B, 4, N) in 0..1.
    """
    tracks = f0_hz.copy()
    batch, voices, frames = tracks.shape
    for example in range(batch):
        for voice in range(voices):
            if rng.random() < 0.15:
                stretch = random_stretch(rng, frames)
                kind = rng.random()
                if kind < 0.55:
                    tracks[example, voice, stretch] = f0_hz[example, rng.integers(voices), stretch]
                elif kind < 0.7:
                    tracks[example, voice, stretch] *= rng.choice([0.5, 2.0])
                elif kind < 0.85:
                    tracks[example, voice, stretch] = 0
                else:
                    tracks[example, voice, stretch] = 100 * 2 ** rng.uniform(0, 2.5)
    cents = rng.normal(0, 7, tracks.shape) + rng.normal(0, 5, (batch, voices, 1))
    voiced = tracks > 0
    flipped = rng.random(tracks.shape) < 0.01
    voicing = np.where(voiced ^ flipped, rng.uniform(0.75, 1, tracks.shape), rng.uniform(0, 0.15, tracks.shape))
    held = np.clip(hold(tracks), 62.0, 1150.0) * 2 ** (cents / 1200)
    return held.astype(np.float32), voicing.astype(np.float32)


def random_stretch(rng: np.random.Generator, frames: int) -> slice:
    """0.2 to 1.3 s somewhere in the excerpt."""
    length = int(rng.integers(6, 40))
    first = int(rng.integers(-length + 1, frames))
    return slice(max(first, 0), first + length)


def hold(tracks: np.ndarray) -> np.ndarray:
    """Carry the last pitch through unvoiced frames (the first one back to the beginning). Shape: (B, 4, N)."""
    frames = np.arange(tracks.shape[-1])
    index = np.where(tracks > 0, frames, -1)
    last = np.maximum.accumulate(index, axis=-1)
    first = np.argmax(tracks > 0, axis=-1)[..., None]
    held = np.take_along_axis(tracks, np.where(last < 0, first, last), axis=-1)
    return np.where(held > 0, held, 200.0)
