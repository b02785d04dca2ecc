"""How far each stem is to be believed, second by second, without the true sources.

What speaks for a stem: bins in which it stands alone, neither other stems (mask ambiguity) nor the residual beside it;
its share of the recording; a steady pitch. A linear model, fitted to true SI-SDR
(`benchmarks/confidence.py`), makes of them the SI-SDR to expect; the confidence is the share of energy that such a
ratio leaves to the voice itself: 1 / (1 + 10^(-dB/10)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from divisi.separation.pitch_join import Tracks
from divisi.separation.power_frames import Powers

STEP_SECONDS = 1.0
MOST_IN_SUMMARY = 64
FEATURES = ("log_purity", "log_share", "unsteadiness")
# dB for one unit of each feature, and a constant; without pitch the first two alone.
WITH_PITCH = (2.8, 0.84, -1.8, 1.9)
WITHOUT_PITCH = (2.9, 0.82, 1.2)

_LOWEST_HZ, _HIGHEST_HZ = 60.0, 5000.0
_TINY = 1e-12
# A stem this far below the recording says nothing.
_SILENT_SHARE = 1e-4
# Steps from frame to frame beyond this are new notes or octave errors: all count the same.
_MOST_SEMITONES = 2.0

Values = NDArray[np.float64]


class Confidence:
    """Gathers evidence while a recording passes.

    Args:
        frequencies: of the bins, Hz, (F,).
        frames_a_second: frames of `push_powers`.
        num_stems: S.
        f0_hop_seconds: from one frame of the pitch tracks to the next; None without pitch.
    """

    def __init__(
        self, frequencies: Values, frames_a_second: float, num_stems: int, f0_hop_seconds: float | None
    ) -> None:
        self._bins = (frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_HZ)
        self._frames_a_second = frames_a_second
        self._num_stems = num_stems
        self._f0_hop_seconds = f0_hop_seconds
        self._num_frames = self._num_f0_frames = 0
        # By second: energy, own share of it, energy of the recording; of the pitch: semitones between frames that are
        # voiced, and pairs of such frames.
        self._powers: list[Values] = []
        self._pitches: list[Values] = []
        self._last_f0 = np.zeros((num_stems, 1), np.float32)

    def push_powers(self, powers: Powers) -> None:
        """Takes float32 (1 + S + 1, N, F): recording, stems, residual."""
        powers = powers[..., self._bins]
        mixture, stems, residual = powers[0], powers[1:-1], powers[-1]
        total = stems.sum(axis=0) + residual + np.float32(_TINY)
        # (3, S, N)
        sums = np.stack(
            [
                stems.sum(axis=-1),
                (stems * (stems / total)).sum(axis=-1),
                np.broadcast_to(mixture.sum(axis=-1), stems.shape[:2]),
            ]
        )
        for place in range(sums.shape[-1]):
            second = int((self._num_frames + 0.5) / self._frames_a_second / STEP_SECONDS)
            _add(self._powers, second, sums[..., place])
            self._num_frames += 1

    def push_f0(self, f0_hz: Tracks) -> None:
        """Takes float32 (S, N) in Hz, 0 where unvoiced."""
        if self._f0_hop_seconds is None or not f0_hz.shape[-1]:
            return
        track = np.concatenate([self._last_f0, f0_hz], axis=-1)
        self._last_f0 = track[:, -1:]
        voiced = track > 0
        both = voiced[:, 1:] & voiced[:, :-1]
        semitones = 12 * np.abs(np.diff(np.log2(np.where(voiced, track, 1.0))))
        steps = np.where(both, np.minimum(semitones, _MOST_SEMITONES), 0.0)
        # (2, S, N)
        sums = np.stack([steps, both]).astype(np.float64)
        for place in range(sums.shape[-1]):
            _add(self._pitches, int(self._num_f0_frames * self._f0_hop_seconds / STEP_SECONDS), sums[..., place])
            self._num_f0_frames += 1

    def features(self) -> tuple[Values, NDArray[np.bool_]]:
        """float64 (seconds, S, features), and where a stem is not silent, (seconds, S)."""
        if not self._powers:
            return np.zeros((0, self._num_stems, len(FEATURES))), np.zeros((0, self._num_stems), bool)
        energy, own, mixture = np.moveaxis(np.stack(self._powers), 1, 0) + _TINY
        is_heard = energy > _SILENT_SHARE * mixture + 2 * _TINY
        purity = (own / energy).clip(1e-3, 1 - 1e-3)
        columns = [np.log(purity / (1 - purity)), np.log(energy / mixture)]
        if self._f0_hop_seconds is not None:
            pitches = np.zeros((len(energy), 2, self._num_stems))
            known = self._pitches[: len(energy)]
            if known:
                pitches[: len(known)] = np.stack(known)
            steps, pairs = np.moveaxis(pitches, 1, 0)
            columns.append(steps / pairs.clip(1))
        return np.stack(columns, axis=-1), is_heard

    def finish(self) -> ConfidenceResult:
        """The verdict over the whole recording."""
        features, is_heard = self.features()
        *weights, constant = WITHOUT_PITCH if self._f0_hop_seconds is None else WITH_PITCH
        expected = features @ np.array(weights) + constant
        return ConfidenceResult(np.where(is_heard, expected, np.nan).T)


class ConfidenceResult:
    """Expected SI-SDR in dB, float64 (S, seconds); NaN where a stem is silent."""

    def __init__(self, expected_db: Values) -> None:
        self.expected_db = expected_db
        self.confidence = 1 / (1 + 10 ** (-expected_db / 10))

    def document(self, stems: Sequence[str]) -> dict[str, Any]:
        """`confidence.json`."""
        return {
            "step_seconds": STEP_SECONDS,
            "num_steps": self.expected_db.shape[1],
            "stems": {
                stem: {
                    "mean": _mean(self.confidence[place]),
                    "confidence": _rounded(self.confidence[place], 3),
                    "expected_si_sdr_db": _rounded(self.expected_db[place], 1),
                }
                for place, stem in enumerate(stems)
            },
        }

    def summary(self, place: int) -> tuple[float | None, float, list[float | None]]:
        """Mean, seconds a step and at most MOST_IN_SUMMARY values of one stem."""
        values = self.confidence[place]
        factor = max(1, -(-len(values) // MOST_IN_SUMMARY))
        means = [_mean(values[start : start + factor]) for start in range(0, len(values), factor)]
        return _mean(values), STEP_SECONDS * factor, means


def _add(sums: list[Values], place: int, values: Values) -> None:
    while len(sums) <= place:
        sums.append(np.zeros(values.shape))
    sums[place] += values


def _mean(values: Values) -> float | None:
    heard = values[~np.isnan(values)]
    return round(float(heard.mean()), 3) if len(heard) else None


def _rounded(values: Values, digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]
