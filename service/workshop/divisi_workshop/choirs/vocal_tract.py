"""What a throat and a mouth do to a voice: vowels as resonances, consonants as dips and noise. Used by
`formant_voices`.

Formant frequencies are textbook averages of adult speakers (Peterson and Barney, 1952; Fant, 1960), given for a tract
of 17.5 cm; a shorter tract scales them up. The transfer function is the all-pole product of acoustic theory (Fant,
1960).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Hz, first five resonances, of sung vowels: rounder and closer to each other than spoken ones. "@" is the neutral
# vowel, "m" the closed mouth of nasals.
VOWELS: dict[str, tuple[float, ...]] = {
    "a": (690, 1120, 2550, 3250, 4200),
    "e": (450, 1800, 2550, 3300, 4200),
    "i": (320, 2100, 2800, 3400, 4200),
    "o": (500, 900, 2500, 3200, 4200),
    "u": (370, 820, 2400, 3200, 4200),
    "@": (500, 1400, 2450, 3300, 4200),
    "m": (260, 1050, 2200, 3200, 4200),
}
NUM_FORMANTS = 5
BANDWIDTHS_HZ = (65.0, 85.0, 115.0, 160.0, 220.0)
# A tube of 17.5 cm, closed at one end, resonates every 1000 Hz; above the fifth, vowels no longer differ.
TUBE_SPACING_HZ = 1_000.0
HIGH_BANDWIDTH_HZ = 320.0


@dataclass(frozen=True)
class Consonant:
    """A consonant before a vowel.

    Attributes:
        seconds: its length; the vowel begins on the beat, so it lies before.
        voice_db: level of the voice in it against the vowel.
        noise_db: level of the noise against the voice; None: no noise.
        low_hz, high_hz: band of the noise.
        vowel: resonances meanwhile, a key of VOWELS; None: those of the vowel to come.
    """

    seconds: float
    voice_db: float
    noise_db: float | None = None
    low_hz: float = 0.0
    high_hz: float = 0.0
    vowel: str | None = None


CONSONANTS: dict[str, Consonant] = {
    "": Consonant(0.03, -3),
    "h": Consonant(0.07, -35, -20, 500, 3_000),
    "f": Consonant(0.08, -50, -20, 2_500, 9_000, "u"),
    "v": Consonant(0.06, -12, -32, 2_500, 7_000, "u"),
    "s": Consonant(0.09, -50, -18, 4_500, 9_500, "i"),
    "S": Consonant(0.09, -50, -18, 1_800, 6_000, "u"),
    "t": Consonant(0.06, -50, -20, 2_500, 7_000, "i"),
    "b": Consonant(0.05, -24, -34, 300, 1_500, "u"),
    "d": Consonant(0.05, -22, -30, 1_500, 5_000, "i"),
    "l": Consonant(0.06, -7, vowel="m"),
    "m": Consonant(0.07, -8, vowel="m"),
    "n": Consonant(0.06, -8, vowel="m"),
}


def transfer(formants_hz: Array, frequencies_hz: Array, tract_scale: float) -> NDArray[np.complex128]:
    """Complex gain of the tract at each frequency of each frame.

    Shape: formants `(N, 5)`, frequencies `(N, K)` or `(1, K)` in Hz -> `(N, K)`; gain 1 at 0 Hz.
    """
    gain = np.ones(np.broadcast_shapes(frequencies_hz.shape, (len(formants_hz), 1)), np.complex128)
    for number in range(NUM_FORMANTS):
        bandwidth_hz = BANDWIDTHS_HZ[number] * tract_scale
        gain *= _resonance(frequencies_hz, formants_hz[:, number : number + 1], bandwidth_hz)
    # The resonances of the tube above the fifth: without them the treble would die at 12 dB an octave for each formant.
    highest_hz = float(frequencies_hz.max()) + TUBE_SPACING_HZ
    tube_hz = VOWELS["@"][-1] + TUBE_SPACING_HZ
    while tube_hz * tract_scale < highest_hz:
        gain *= _resonance(frequencies_hz, tube_hz * tract_scale, HIGH_BANDWIDTH_HZ * tract_scale)
        tube_hz += TUBE_SPACING_HZ
    return gain


def _resonance(frequencies_hz: Array, centre_hz: Array | float, bandwidth_hz: float) -> NDArray[np.complex128]:
    """One pair of poles, gain 1 at 0 Hz."""
    poles = centre_hz**2 + (bandwidth_hz / 2) ** 2
    return np.asarray(poles / (poles - frequencies_hz**2 + 1j * frequencies_hz * bandwidth_hz), np.complex128)
