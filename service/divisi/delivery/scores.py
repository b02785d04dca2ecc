"""How near each stem is to its voice, second by second: measured where true sources came with the recording, expected
where they did not.

SI-SDR against true sources is that of the whole length and, of every second, that of the second alone; no mean is
removed (Le Roux et al., 2019).

Without them, what speaks for a stem is: bins in which it stands alone, neither other stems (mask ambiguity) nor the
residual beside it; its share of the recording. A linear model, fitted to true SI-SDR dry, in rooms and of sections
(`benchmarks/confidence.py --fit`), makes of these the SI-SDR to expect; the confidence is the share of energy that such
a ratio leaves to the voice itself: 1 / (1 + 10^(-dB/10)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from divisi.audio.decode import open_decoder
from divisi.audio.recording import SampleQueue, Samples, check_true_source, mismatch
from divisi.delivery.pictures import Powers
from divisi.separation.segments import Stems

Values = NDArray[np.float64]

STEP_SECONDS = 1.0
MOST_IN_SUMMARY = 64
FEATURES = ("log_purity", "log_share")
# dB for one unit of each feature, and a constant.
WEIGHTS = (3.6, 0.9, -0.7)
_BLOCK_LENGTH = 1 << 16
# A ratio of nothing, or to nothing; JSON holds no infinity.
_LIMIT_DB = 80.0
# A source below this mean square is silent: its ratio says nothing.
_SILENT_MEAN_SQUARE = 1e-7
# Where voices have most of their power.
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 5000.0
_TINY = 1e-12
# A stem this far below the recording says nothing.
_SILENT_SHARE = 1e-4


@dataclass(frozen=True)
class ReferenceScore:
    """How near one stem is to its true source.

    Attributes:
        stem: its name.
        si_sdr_db: over the whole recording; None where the source is silent throughout.
        mixture_si_sdr_db: of the recording itself taken for the stem.
        frames_si_sdr_db: of each second; None where the source is silent.
    """

    stem: str
    si_sdr_db: float | None
    mixture_si_sdr_db: float | None
    frames_si_sdr_db: tuple[float | None, ...]

    def summary(self) -> tuple[float, tuple[float | None, ...]]:
        """Seconds a step, and at most MOST_IN_SUMMARY values."""
        return _summary(np.array(self.frames_si_sdr_db, np.float64))


class ReferenceScores:
    """Reads true sources in step with the stems; a context manager.

    Args:
        references: files by the name of the stem; of the recording's rate and length, mono or of its channels.
        stems: names of the stems that will come, S.
        sample_rate: Hz.
        num_channels: of the stems.

    Raises:
        InputError: `reference-mismatch`, or what decoding raises.
    """

    def __init__(
        self, references: Mapping[str, Path], stems: Sequence[str], sample_rate: int, num_channels: int
    ) -> None:
        step_length = round(sample_rate * STEP_SECONDS)
        self._sources: dict[int, _TrueSource] = {}
        with ExitStack() as opened:
            for place, stem in enumerate(stems):
                if stem not in references:
                    continue
                decoder = opened.enter_context(open_decoder(references[stem]))
                facts = decoder.facts
                check_true_source(stem, facts.sample_rate, facts.num_channels, sample_rate, num_channels)
                self._sources[place] = _TrueSource(
                    stem, iter(decoder.blocks(_BLOCK_LENGTH)), facts.num_channels, step_length
                )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def push(self, mixture: Samples, stems: Stems) -> dict[str, Samples]:
        """Takes the next float32 (C, n) and (S, C, n); gives the true sources of the same stretch by stem."""
        return {source.stem: source.push(stems[place], mixture) for place, source in self._sources.items()}

    def finish(self) -> tuple[ReferenceScore, ...]:
        """The scores, in the stems' order.

        Raises:
            InputError: `reference-mismatch`, a source is longer than the recording.
        """
        return tuple(source.finish() for source in self._sources.values())


class _TrueSource:
    """One source, and what was summed up of it in each step."""

    def __init__(self, stem: str, blocks: Iterator[Samples], num_channels: int, step_length: int) -> None:
        self.stem = stem
        self._blocks, self._waiting, self._step_length = blocks, SampleQueue(num_channels), step_length
        self._num_samples = 0
        # float64 (5,) of each step: <r,r>, <e,r>, <e,e>, <m,r>, <m,m>.
        self._sums: list[Values] = []

    def push(self, stem: Samples, mixture: Samples) -> Samples:
        """Takes the next float32 (C, n) each; gives the source's, (1, n) or (C, n)."""
        length = stem.shape[-1]
        while len(self._waiting) < length:
            block = next(self._blocks, None)
            if block is None:
                raise mismatch(self.stem, "is shorter than the recording")
            self._waiting.push(block)
        reference = self._waiting.pop(length)
        if len(reference) != len(stem):  # a mono source of a stereo recording
            stem, mixture = stem.mean(axis=0, keepdims=True), mixture.mean(axis=0, keepdims=True)
        position = 0
        while position < length:
            step = (self._num_samples + position) // self._step_length
            end = min(length, (step + 1) * self._step_length - self._num_samples)
            r, e, m = (part[:, position:end].astype(np.float64).ravel() for part in (reference, stem, mixture))
            _add(self._sums, step, np.array((r @ r, e @ r, e @ e, m @ r, m @ m)))
            position = end
        self._num_samples += length
        return reference

    def finish(self) -> ReferenceScore:
        if len(self._waiting) or any(block.shape[-1] for block in self._blocks):
            raise mismatch(self.stem, "is longer than the recording")
        total = np.sum(self._sums, axis=0) if self._sums else np.zeros(5)
        num_samples = self._step_length * max(1, len(self._sums))
        return ReferenceScore(
            self.stem,
            _ratio(total[:3], num_samples),
            _ratio(total[[0, 3, 4]], num_samples),
            tuple(_ratio(sums[:3], self._step_length) for sums in self._sums),
        )


def _ratio(products: Values, num_samples: int) -> float | None:
    """10 log10(|a r|² / |e - a r|²) with a = <e,r>/<r,r>, from <r,r>, <e,r>, <e,e>."""
    energy, dot, estimate_energy = products
    if energy < _SILENT_MEAN_SQUARE * num_samples:
        return None
    target = dot * dot / energy
    distortion = estimate_energy - target
    if target <= 0:
        return -_LIMIT_DB
    if distortion <= target * 1e-8:
        return _LIMIT_DB
    return round(float(np.clip(10 * math.log10(target / distortion), -_LIMIT_DB, _LIMIT_DB)), 3)


class Confidence:
    """Gathers evidence while a recording passes.

    Args:
        frequencies: of the bins, Hz, (F,).
        frames_a_second: frames of `push_powers`.
    """

    def __init__(self, frequencies: Values, frames_a_second: float) -> None:
        self._bins = (frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_HZ)
        self._frames_a_second = frames_a_second
        self._num_frames = 0
        # By second, (3, S): energy, own share of it, energy of the recording.
        self._powers: list[Values] = []

    def push_powers(self, powers: Powers) -> None:
        """Takes float32 (1 + S + 1, N, F): recording, stems, residual."""
        powers = powers[..., self._bins]
        mixture, stems, residual = powers[0], powers[1:-1], powers[-1]
        total = stems.sum(axis=0) + residual + np.float32(_TINY)
        own = (stems * (stems / total)).sum(axis=-1)
        # (3, S, N)
        sums = np.stack([stems.sum(axis=-1), own, np.broadcast_to(mixture.sum(axis=-1), own.shape)])
        for place in range(sums.shape[-1]):
            second = int((self._num_frames + 0.5) / self._frames_a_second / STEP_SECONDS)
            _add(self._powers, second, sums[..., place])
            self._num_frames += 1

    def features(self) -> tuple[Values, NDArray[np.bool_]]:
        """float64 (seconds, S, features), and where a stem is not silent, (seconds, S)."""
        energy, own, mixture = np.moveaxis(np.stack(self._powers), 1, 0) + _TINY
        is_sounding = energy > _SILENT_SHARE * mixture + 2 * _TINY
        purity = (own / energy).clip(1e-3, 1 - 1e-3)
        features = np.stack([np.log(purity / (1 - purity)), np.log(energy / mixture)], axis=-1)
        return features, is_sounding

    def finish(self) -> ConfidenceResult:
        """The verdict over the whole recording."""
        features, is_sounding = self.features()
        *weights, constant = WEIGHTS
        expected = features @ np.array(weights) + constant
        return ConfidenceResult(np.where(is_sounding, expected, np.nan).T)


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

    def summary(self, place: int) -> tuple[float | None, float, tuple[float | None, ...]]:
        """Mean of one stem, seconds a step, and at most MOST_IN_SUMMARY values."""
        return _mean(self.confidence[place]), *_summary(self.confidence[place])


def _add(sums: list[Values], place: int, values: Values) -> None:
    while len(sums) <= place:
        sums.append(np.zeros(values.shape))
    sums[place] += values


def _summary(values: Values) -> tuple[float, tuple[float | None, ...]]:
    """Seconds a step, and the means of at most MOST_IN_SUMMARY steps, of values of single steps."""
    factor = max(1, -(-len(values) // MOST_IN_SUMMARY))
    return STEP_SECONDS * factor, tuple(_mean(values[at : at + factor]) for at in range(0, len(values), factor))


def _mean(values: Values) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 3) if len(known) else None


def _rounded(values: Values, digits: int) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), digits) for value in values]
