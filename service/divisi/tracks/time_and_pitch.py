"""Another speed and another key, block by block in flat memory, for the tracks of one recording together.

A phase vocoder that locks the phases of whole partials: what lies around a peak of the spectrum turns with it
(Puckette, "Phase-locked vocoder", 1995; Laroche and Dolson, "Improved phase vocoder time-scale modification of audio",
1999). Phases are advanced by what the recording itself does over one hop, which a second spectrum one hop earlier says,
so nothing has to be unwrapped. A key is a stretch and a change of the sample rate; vowels are put back where they were:
each partial takes the level that the recording has there, on a line from partial to partial.
`benchmarks/time_and_pitch.py` says how well that sounds.

All tracks have their spectra at the same places, so they stay together to the sample; the channels of a track turn
together, so voices stay where they stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from divisi.audio.recording import fit_length

Tracks = NDArray[np.float32]
"""float32 (S, C, n): tracks, channels, samples."""
Spectra = NDArray[np.complex64]
Magnitudes = NDArray[np.float32]


# Long enough to separate the partials of a bass.
_WINDOW_SECONDS = 0.08
_OVERLAP = 4


class TimeAndPitch:
    """Tracks on their way to another speed and key.

    Args:
        num_tracks: S.
        num_channels: C of each.
        sample_rate: Hz, of what comes and of what goes.
        speed_percent: 100 is as it was; 80 takes a quarter longer.
        semitones: upwards; may be 0.
    """

    def __init__(
        self, num_tracks: int, num_channels: int, sample_rate: int, speed_percent: int = 100, semitones: float = 0
    ) -> None:
        self._speed = speed_percent / 100
        ratio = 2 ** (semitones / 12)
        self._shape = (num_tracks, num_channels)
        length = 2 ** round(math.log2(_WINDOW_SECONDS * sample_rate))
        formants = _Formants(length, sample_rate, ratio) if semitones else None
        self._stretch = _Stretch(self._shape, length, ratio / self._speed, formants)
        channels = num_tracks * num_channels
        self._resampler = (
            soxr.ResampleStream(ratio, 1.0, channels, dtype="float32", quality="HQ") if semitones else None
        )
        self._taken = self._given = 0

    def push(self, block: Tracks) -> Tracks:
        """Takes the next float32 (S, C, n), gives what is ready, float32 (S, C, m)."""
        self._taken += block.shape[-1]
        return self._resampled(self._stretch.push(block), is_last=False)

    def finish(self) -> Tracks:
        """The rest: in all there are T / speed samples, rounded."""
        return self._resampled(self._stretch.finish(), is_last=True)

    def _resampled(self, stretched: Tracks, *, is_last: bool) -> Tracks:
        flat = stretched.reshape(math.prod(self._shape), stretched.shape[-1])
        if self._resampler is not None:
            flat = self._resampler.resample_chunk(np.ascontiguousarray(flat.T), last=is_last).T
        if is_last:
            flat = fit_length(flat, round(self._taken / self._speed) - self._given)
        self._given += flat.shape[-1]
        return flat.reshape(*self._shape, flat.shape[-1])


class _Stretch:
    """The phase vocoder: tracks, float32 (S, C, n), come out `factor` times as long.

    The frame of output time m · hop is that of input time m · hop / factor; both count from the first sample.
    """

    def __init__(self, shape: tuple[int, int], length: int, factor: float, formants: _Formants | None) -> None:
        self._length, self._hop, self._factor, self._formants = length, length // _OVERLAP, factor, formants
        self._window = np.hanning(length + 1)[:-1].astype(np.float32)
        # The squares of Hann windows that overlap four times add up to 1.5.
        self._gain = np.float32(2 / 3)
        self._frame = -_OVERLAP // 2
        # The input from sample `_start` on; silence in front of the first.
        self._start = math.floor(self._frame * self._hop / factor) - length // 2 - self._hop
        self._input = np.zeros((*shape, -self._start), np.float32)
        self._sum = np.zeros((*shape, length), np.float32)
        self._last: Spectra | None = None
        self._taken = self._given = 0

    def push(self, block: Tracks) -> Tracks:
        """Takes the next block, gives what is ready."""
        self._taken += block.shape[-1]
        self._input = np.concatenate([self._input, block], axis=-1)
        return self._joined(self._ready())

    def finish(self) -> Tracks:
        """The rest: in all there are T · factor samples, rounded."""
        left = round(self._taken * self._factor) - self._given
        silence = np.zeros((*self._input.shape[:2], 2 * self._length + self._hop), np.float32)
        self._input = np.concatenate([self._input, silence], axis=-1)
        rest = self._joined(self._ready())
        return rest[..., :left]

    def _joined(self, pieces: Iterator[Tracks]) -> Tracks:
        joined = np.concatenate([np.zeros((*self._input.shape[:2], 0), np.float32), *pieces], axis=-1)
        self._given += joined.shape[-1]
        return joined

    def _ready(self) -> Iterator[Tracks]:
        while True:
            begin = round(self._frame * self._hop / self._factor) - self._length // 2 - self._start
            if begin + self._length > self._input.shape[-1]:
                break
            now, before = self._spectra_at(begin), self._spectra_at(begin - self._hop)
            yield self._added(now if self._last is None else _turned(now, before, self._last))
            self._frame += 1
        # What no later frame needs.
        unused = max(0, begin - self._hop)
        self._input, self._start = self._input[..., unused:], self._start + unused

    def _spectra_at(self, begin: int) -> Spectra:
        return np.fft.rfft(self._window * self._input[..., begin : begin + self._length]).astype(np.complex64)

    def _added(self, spectra: Spectra) -> Tracks:
        """Adds a frame to the output, and gives what no later one reaches."""
        self._last = spectra
        shown = spectra if self._formants is None else self._formants.kept(spectra)
        self._sum += self._gain * self._window * np.fft.irfft(shown, self._length)
        # Complete is what lies before the next frame's begin; nothing is before the first sample.
        begin = self._frame * self._hop - self._length // 2
        ready = self._sum[..., max(0, -begin) : self._hop].copy()
        self._sum = np.concatenate([self._sum[..., self._hop :], np.zeros_like(self._sum[..., : self._hop])], axis=-1)
        return ready


def _turned(now: Spectra, before: Spectra, last: Spectra) -> Spectra:
    """A frame of the output, as far from the last one as the recording moves in one hop.

    Args:
        now: of the recording, complex64 (S, C, F).
        before: one hop earlier in the recording.
        last: the output's frame one hop earlier.
    """
    turn = (last * before.conj()).sum(axis=1)
    peaks = _nearest_peaks(np.square(np.abs(now)).sum(axis=1))
    turn = np.take_along_axis(turn, peaks, axis=-1)
    size = np.abs(turn)
    turn = np.where(size > 0, turn / np.maximum(size, np.float32(1e-30)), np.complex64(1))
    return now * turn[:, None]


def _nearest_peaks(powers: Magnitudes) -> NDArray[np.intp]:
    """For each bin of float32 (S, F) the peak that is nearest; where there is none, the first bin."""
    num_bins = powers.shape[-1]
    is_peak = np.zeros(powers.shape, bool)
    middle = powers[:, 2:-2]
    is_peak[:, 2:-2] = (
        (middle > powers[:, 1:-3]) & (middle > powers[:, :-4]) & (middle >= powers[:, 3:-1]) & (middle >= powers[:, 4:])
    )
    places = np.arange(num_bins)
    below = np.maximum.accumulate(np.where(is_peak, places, -num_bins), axis=-1)
    above = np.minimum.accumulate(np.where(is_peak, places, 3 * num_bins)[:, ::-1], axis=-1)[:, ::-1]
    nearest = np.where(places - below <= above - places, below, above)
    return np.where((nearest >= 0) & (nearest < num_bins), nearest, 0)


class _Formants:
    """Gives spectra the envelope that they had before they are moved by `ratio`."""

    # Of the periods that are looked for: those of sung pitches.
    _SHORTEST_SECONDS, _LONGEST_SECONDS = 1 / 1_100, 1 / 65
    # Below this part of a frame's loudest bin there is nothing to raise.
    _FLOOR = 1e-5
    _MOST_GAIN = math.log(10 ** (30 / 20))

    def __init__(self, length: int, sample_rate: int, ratio: float) -> None:
        self._length = length
        self._shortest = round(self._SHORTEST_SECONDS * sample_rate)
        self._longest = round(self._LONGEST_SECONDS * sample_rate)
        self._bins = np.arange(length // 2 + 1)
        self._moved_bins = self._bins * ratio

    def kept(self, spectra: Spectra) -> Spectra:
        """complex64 (S, C, F), with the envelopes for after the move."""
        size = np.sqrt(np.square(np.abs(spectra)).sum(axis=1))
        loudest = size.max(axis=-1, keepdims=True)
        logs = np.log(np.maximum(size, self._FLOOR * loudest + np.float32(1e-12)))
        gains = [self._log_gain(*track) for track in zip(logs, self._periods(logs), strict=True)]
        return spectra * np.exp(np.stack(gains)).astype(np.float32)[:, None]

    def _periods(self, logs: Magnitudes) -> list[float]:
        """Of the pitches, in samples, by the cepstra of float32 (S, F)."""
        cepstra = np.fft.irfft(logs, self._length)[:, : self._longest]
        periods = []
        for cepstrum in cepstra:
            lag = self._shortest + int(cepstrum[self._shortest :].argmax())
            # Twice the period is one, too; taken for it, the envelope would dive between the partials.
            for part in (3, 2):
                shorter = round(lag / part)
                if shorter >= self._shortest and cepstrum[shorter - 2 : shorter + 3].max() > 0.5 * cepstrum[lag]:
                    lag = shorter
                    break
            periods.append(float(lag))
        return periods

    def _log_gain(self, logs: NDArray[np.float32], period: float) -> NDArray[np.float32]:
        """From the envelope of one spectrum, a line from partial to partial, to the same at the places moved to."""
        spacing = self._length / period
        # From half way to the first partial on, half way to the next, and so on.
        edges = ((np.arange(int(len(logs) / spacing + 0.5)) + 0.5) * spacing).astype(np.intp)
        edges = edges[edges < len(logs)]
        levels = np.maximum.reduceat(logs, edges)
        is_partial = logs[edges[0] :] == np.repeat(levels, np.diff(edges, append=len(logs)))
        partials = edges[0] + np.flatnonzero(is_partial)
        envelope = np.interp(self._bins, partials, logs[partials])
        moved = np.interp(self._moved_bins, partials, logs[partials])
        return np.clip(moved - envelope, -self._MOST_GAIN, self._MOST_GAIN)
