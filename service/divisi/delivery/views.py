"""What a person sees of a separation, made while it passes, so that nobody decodes stems to see them: `peaks.json`,
`confidence.json`, a spectrogram a track, and `report.png`. Bounded in size and memory for recordings of any length.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.contract.card import MIXTURE, RESIDUAL
from divisi.delivery.pictures import (
    Images,
    PowerFrames,
    Powers,
    SpectrogramTracks,
    TrackPicture,
    palette_image,
    write_report,
)
from divisi.delivery.scores import Confidence, ConfidenceResult
from divisi.notation.tuning import TuningMeter
from divisi.separation.separator import SeparatedBlock, SeparationOptions

PEAKS_NAME, CONFIDENCE_NAME, REPORT_NAME = "peaks.json", "confidence.json", "report.png"
# Frames a second by the longest recording they are for: as many as the image has columns.
_FRAME_RATES = ((32, 64), (64, 32))
_FEWEST_FRAMES_A_SECOND = 16
# Points of pitch that the picture can show.
_PITCH_POINTS = 2048
# Of the finest level: with six tracks the file stays below 200 kB whatever the recording's length.
MOST_POINTS = 8192
_FEWEST_SAMPLES = 64
_NUM_LEVELS, _COARSER = 3, 4
_FULL = 127

Points = NDArray[np.float32]
"""float32 (2, K, n): smallest and largest sample of each of n stretches of K tracks."""


class ViewFiles:
    """The files of one delivery, being gathered.

    Args:
        folder: where to create them.
        title: of the report.
        tracks: names of the stems, S, and of the residual where it is one.
        sample_rate: Hz.
        num_samples: of the recording.
        f0_hop_seconds: of the pitch tracks; None without pitch.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        tracks: Sequence[str],
        sample_rate: int,
        num_samples: int,
        f0_hop_seconds: float | None,
    ) -> None:
        self._title, self._sample_rate, self._num_samples = title, sample_rate, num_samples
        self._stems = [name for name in tracks if name != RESIDUAL]
        self._names = [MIXTURE, *tracks]
        self.paths = [folder / name for name in _file_names(self._names)]
        num_stems, seconds = len(self._stems), num_samples / sample_rate
        rate = next((rate for longest, rate in _FRAME_RATES if seconds <= longest), _FEWEST_FRAMES_A_SECOND)
        self._peaks = PeakTracks(self._names, num_samples)
        self._peaks_beside: dict[str, PeakTracks] = {}
        self._frames = PowerFrames(num_stems + 2, sample_rate, rate)
        frames_a_second = sample_rate / self._frames.hop_length
        self._spectrograms = SpectrogramTracks(len(self._names), self._frames.frequencies)
        self._confidence = Confidence(self._frames.frequencies, frames_a_second)
        self._f0 = _ThinnedPitch(num_stems)
        self._tuning = TuningMeter(num_stems, f0_hop_seconds) if f0_hop_seconds else None

    def write(self, block: SeparatedBlock, beside: Mapping[str, Samples] | None = None) -> None:
        """Takes the next block; and the next of what is only drawn as waveforms, float32 (any channels, m) by name."""
        for name, samples in (beside or {}).items():
            track = self._peaks_beside.setdefault(name, PeakTracks([name], self._num_samples))
            track.push(samples[None])
        if block.f0 is not None:
            self._f0.push(block.f0)
            if self._tuning is not None:
                self._tuning.push(block.f0, block.voicing)
        if not block.mixture.shape[-1]:
            return
        tracks = np.concatenate([block.mixture[None], block.stems, block.residual[None]])
        self._peaks.push(tracks[: len(self._names)])
        for powers in self._frames.push(tracks):
            self._push_powers(powers)

    def finish(self) -> ConfidenceResult:
        """Writes everything; gives how far each stem is to be believed."""
        for powers in self._frames.finish():
            self._push_powers(powers)
        peaks = self._peaks.finish(self._sample_rate)
        for track in self._peaks_beside.values():
            peaks["tracks"] |= track.finish(self._sample_rate)["tracks"]
        shades = self._spectrograms.finish()
        verdict = self._confidence.finish()
        peaks_path, confidence_path, report_path, *image_paths = self.paths
        for path, document in ((peaks_path, peaks), (confidence_path, verdict.document(self._stems))):
            path.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
        for path, own in zip(image_paths, shades, strict=True):
            palette_image(own).save(path)
        self._write_report(report_path, peaks, shades, verdict)
        return verdict

    def _push_powers(self, powers: Powers) -> None:
        self._confidence.push_powers(powers)
        self._spectrograms.push_powers(powers[: len(self._names)])

    def _write_report(self, path: Path, peaks: dict[str, Any], shades: Images, verdict: ConfidenceResult) -> None:
        title, pitches = self._title, np.zeros((len(self._stems), 0), np.float32)
        if self._tuning is not None:
            title, pitches = f"{title}    A4 = {self._tuning.finish().a4_hz:.1f} Hz", self._f0.tracks
        nothing = np.zeros(0)
        pictures = [
            TrackPicture(
                name,
                shades[place],
                _levels(peaks["tracks"][name]),
                pitches[place - 1] if name in self._stems else nothing.astype(np.float32),
                verdict.confidence[place - 1] if name in self._stems else nothing,
            )
            for place, name in enumerate(self._names)
        ]
        write_report(path, title, peaks["num_samples"] / self._sample_rate, pictures)


class _ThinnedPitch:
    """Pitch tracks at so few points that a picture can show them all."""

    def __init__(self, num_stems: int) -> None:
        self.tracks = np.zeros((num_stems, 0), np.float32)
        self._every = 1
        self._skip = 0

    def push(self, f0_hz: NDArray[np.float32]) -> None:
        self.tracks = np.concatenate([self.tracks, f0_hz[:, self._skip :: self._every]], axis=-1)
        self._skip = (self._skip - f0_hz.shape[-1]) % self._every
        while self.tracks.shape[-1] > 2 * _PITCH_POINTS:
            if self.tracks.shape[-1] % 2:
                self._skip += self._every
            self.tracks = self.tracks[:, ::2]
            self._every *= 2


def view_names(options: SeparationOptions, tracks: Sequence[str]) -> list[str]:
    """Names of the files that a request asks for, of stems and residual."""
    names = _file_names([MIXTURE, *tracks])
    return (
        names if options.include_views else [name for name in names if options.include_report and name == REPORT_NAME]
    )


def true_source_name(stem: str) -> str:
    """What `peaks.json` calls the true source of a stem."""
    return f"true {stem}"


def spectrogram_name(track: str) -> str:
    """Name of a track's image."""
    return f"spectrogram-{track}.png"


def _file_names(tracks: Sequence[str]) -> list[str]:
    return [PEAKS_NAME, CONFIDENCE_NAME, REPORT_NAME, *map(spectrogram_name, tracks)]


class PeakTracks:
    """Waveforms to draw: extremes of K tracks that pass in blocks, in three resolutions.

    Args:
        names: of the tracks, K.
        num_samples: length of the recording, which decides how many points are held.
    """

    def __init__(self, names: Sequence[str], num_samples: int) -> None:
        self._names = names
        self._width = max(_FEWEST_SAMPLES, 2 ** math.ceil(math.log2(num_samples / MOST_POINTS)))
        self._waiting = np.zeros((2, len(names), 0), np.float32)
        self._points: list[Points] = []
        self._num_samples = 0

    def push(self, tracks: NDArray[np.float32]) -> None:
        """Takes the next float32 (K, C, n)."""
        self._num_samples += tracks.shape[-1]
        self._waiting = np.concatenate([self._waiting, np.stack([tracks.min(axis=1), tracks.max(axis=1)])], axis=-1)
        whole = self._waiting.shape[-1] // self._width * self._width
        if whole:
            self._points.append(_merged(self._waiting[..., :whole], self._width))
            self._waiting = self._waiting[..., whole:]

    def finish(self, sample_rate: int) -> dict[str, Any]:
        """The document."""
        if self._waiting.shape[-1]:
            self._points.append(_merged(self._waiting, self._waiting.shape[-1]))
        levels = [np.concatenate(self._points, axis=-1) if self._points else self._waiting]
        for _ in range(_NUM_LEVELS - 1):
            levels.append(_merged(levels[-1], _COARSER))
        return {
            "sample_rate": sample_rate,
            "num_samples": self._num_samples,
            "levels": [
                {"samples_per_point": self._width * _COARSER**number, "num_points": level.shape[-1]}
                for number, level in enumerate(levels)
            ],
            "tracks": {name: _track([level[:, place] for level in levels]) for place, name in enumerate(self._names)},
        }


def _track(levels: Sequence[Points]) -> dict[str, Any]:
    """Of float32 (2, points) for each level."""
    peak = float(np.abs(levels[0]).max(initial=0))
    return {"peak": round(peak, 6), "levels": [_packed(level, peak) for level in levels]}


def _packed(level: Points, peak: float) -> str:
    """Pairs of int8, rounded outwards: a click stays to be seen."""
    scaled = level * (_FULL / peak) if peak else level
    whole = np.stack([np.floor(scaled[0]), np.ceil(scaled[1])], axis=-1).clip(-_FULL, _FULL)
    return base64.b64encode(whole.astype(np.int8).tobytes()).decode()


def _merged(points: Points, factor: int) -> Points:
    """Every `factor` points as one; the last may be of fewer."""
    starts = np.arange(0, points.shape[-1], factor)
    if not len(starts):
        return points
    low, high = points
    return np.stack([np.minimum.reduceat(low, starts, axis=-1), np.maximum.reduceat(high, starts, axis=-1)])


def _levels(track: dict[str, Any]) -> NDArray[np.float32]:
    """Largest magnitude of each point of the finest level."""
    pairs = np.frombuffer(base64.b64decode(track["levels"][0]), np.int8).reshape(-1, 2).astype(np.float32)
    return np.asarray(np.abs(pairs).max(axis=-1) * track["peak"] / _FULL, np.float32)
