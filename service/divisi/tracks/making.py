"""Learning tracks of one recording, all at once: every stem is decoded twice, whatever the number of tracks.

The first time to measure: all tracks shall be equally loud, none beyond full scale, and what stands left as loud as
what stands right. The second time to write: each block of all stems takes its speed and key once, and goes into every
track. Memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from divisi.audio.decode import open_decoder
from divisi.audio.recording import Samples, StreamResampler
from divisi.contract.errors import InputError
from divisi.contract.tracks import LOWER_DB, Layout, Track, TrackOptions, check_length, full_set
from divisi.tracks.time_and_pitch import TimeAndPitch, Tracks
from divisi.tracks.track_file import Tags, TrackWriter, cover_png, open_track, track_rate

_BLOCK_LENGTH = 1 << 16
# RMS that tracks have where their peaks let them; full scale 1.
_LEVEL = 0.1
# Largest peak; a changed key or speed puts partials together otherwise, and codecs do, too.
_CEILING, _CEILING_WHEN_CHANGED = 0.89, 0.63
# Of the work, where nothing is encoded yet.
_MEASURING_SHARE = 0.1


@dataclass(frozen=True)
class TrackStem:
    """One stem: its name, its file, and whether it is the residual, which nobody practises."""

    name: str
    path: Path
    is_residual: bool = False


@dataclass(frozen=True)
class TrackOrder:
    """What is to be made.

    Attributes:
        stems: all of the recording.
        tracks: which of the full set.
        title: of the song.
    """

    stems: tuple[TrackStem, ...]
    tracks: tuple[Track, ...]
    options: TrackOptions
    title: str


def make_tracks(order: TrackOrder, folder: Path, on_progress: Callable[[float], None]) -> list[Path]:
    """Writes tracks into a folder, in their order, `<slug>.<format>`.

    Raises:
        InputError: `undecodable`, `audio-too-long`, or `mix-mismatch` for stems of different rates or channels.
    """
    with open_decoder(order.stems[0].path) as decoder:
        facts = decoder.facts
    check_length(facts.num_samples / facts.sample_rate, order.options)
    sample_rate = track_rate(facts.sample_rate, order.options.format)
    num_channels = facts.num_channels if facts.num_channels <= 2 else 1

    def report(done: int, begin: float, share: float) -> None:
        on_progress(begin + share * min(1.0, done / max(facts.num_samples, 1)))

    mixes = {track: _mix_of(track, order.stems, num_channels) for track in full_set(parts_of(order.stems))}
    course = []
    for done, block in _blocks(order.stems):
        for mix in mixes.values():
            mix.measure(block)
        course.append(np.abs(block).max(axis=(1, 2)))
        report(done, 0.0, _MEASURING_SHARE)
    target = _target(order.options, list(mixes.values()))
    paths = [folder / f"{track.slug}.{order.options.format}" for track in order.tracks]
    with ExitStack() as opened:
        writers: list[TrackWriter] = []
        for track, path in zip(order.tracks, paths, strict=True):
            tags = _tags(track, order, np.stack(course, axis=1))
            writer = open_track(path, order.options.format, sample_rate, mixes[track].num_channels, tags)
            writers.append(opened.enter_context(closing(writer)))
        for done, block in _changed(order, facts.sample_rate, sample_rate, num_channels):
            for track, writer in zip(order.tracks, writers, strict=True):
                writer.write(mixes[track].of(block, target))
            report(done, _MEASURING_SHARE, 1 - _MEASURING_SHARE)
    on_progress(1.0)
    return paths


def parts_of(stems: Sequence[TrackStem]) -> list[str]:
    """Names of the stems that somebody practises."""
    return [stem.name for stem in stems if not stem.is_residual]


def _target(options: TrackOptions, mixes: Sequence[_Mix]) -> float:
    """The RMS of all tracks: the usual one, or what the track with the largest peaks can have."""
    ceiling = _CEILING_WHEN_CHANGED if options.change else _CEILING
    return min([_LEVEL, *(ceiling * mix.rms / mix.peak for mix in mixes if mix.peak)])


def _tags(track: Track, order: TrackOrder, course: NDArray[np.float32]) -> Tags:
    change = f" ({order.options.change})" if order.options.change else ""
    shown = [not stem.is_residual and track.part in (None, stem.name) for stem in order.stems]
    title = f"{order.title} – {track.title}{change}"
    return Tags(title, order.options.choir, order.title, track.number, cover_png(course, shown))


def _mix_of(track: Track, stems: Sequence[TrackStem], num_channels: int) -> _Mix:
    names = [stem.name for stem in stems]
    is_part = np.array([name == track.part for name in names])
    if track.layout is None:
        return _Mix([np.ones(len(names))], num_channels)
    if track.layout is Layout.FRONT:
        return _Mix([np.where(is_part, 1, 10 ** (-LOWER_DB / 20))], num_channels)
    if track.layout is Layout.WITHOUT:
        return _Mix([~is_part], num_channels)
    sides = [is_part, ~is_part]
    return _Mix(sides if track.layout is Layout.LEFT else sides[::-1], num_channels)


class _Mix:
    """One track as sums of the stems: one that keeps the channels, or one for each of two sides, of mono.

    Args:
        sides: weights of the stems, (S,) each.
        num_channels: of the stems.
    """

    def __init__(self, sides: Sequence[NDArray[np.generic]], num_channels: int) -> None:
        self._weights = np.stack(sides).astype(np.float32)
        self._is_split = len(sides) == 2
        self.num_channels = 2 if self._is_split else num_channels
        self._peaks = np.zeros(len(sides))
        self._energies = np.zeros(len(sides))
        self._num_samples = 0

    def measure(self, block: Tracks) -> None:
        """Takes the next float32 (S, C, n)."""
        sums = self._sums(block)
        self._peaks = np.maximum(self._peaks, np.abs(sums).max(axis=1))
        self._energies += np.square(sums).sum(axis=1)
        self._num_samples += sums.shape[1]

    @property
    def rms(self) -> float:
        """Of all channels together, with both sides equally loud."""
        return float(np.sqrt(self._energies.max() / max(self._num_samples, 1)))

    @property
    def peak(self) -> float:
        """Likewise."""
        return float((self._peaks * self._balance).max())

    def of(self, block: Tracks, rms: float) -> Samples:
        """The track's next block, float32 (C, n), of stems, float32 (S, C, n); all of it has this RMS."""
        gains = (self._balance * (rms / self.rms if self.rms else 1.0)).astype(np.float32)
        sums = self._sums(block) * gains[:, None]
        return sums if self._is_split else sums.reshape(self.num_channels, -1)

    @property
    def _balance(self) -> NDArray[np.float64]:
        """Gain of each side that makes the softer one as loud as the other; a silent one stays silent."""
        loudest = self._energies.max()
        return np.sqrt(np.divide(loudest, self._energies, out=np.ones_like(self._energies), where=self._energies > 0))

    def _sums(self, block: Tracks) -> Samples:
        """float32 (sides, n): of mono, or of all channels one after the other."""
        flat = block.mean(axis=1) if self._is_split else block.reshape(len(block), -1)
        return self._weights @ flat


def _changed(order: TrackOrder, from_rate: int, to_rate: int, num_channels: int) -> Iterator[tuple[int, Tracks]]:
    """How many samples are read, and the next block of all stems at the tracks' rate, speed and key."""
    num_stems, options = len(order.stems), order.options
    resampler = StreamResampler(num_stems * num_channels, from_rate, to_rate)
    engine = (
        TimeAndPitch(num_stems, num_channels, to_rate, options.speed, options.semitones) if options.change else None
    )

    def ready(flat: Samples) -> Tracks:
        block = flat.reshape(num_stems, num_channels, flat.shape[-1])
        return block if engine is None else engine.push(block)

    done = 0
    for done, block in _blocks(order.stems):
        yield done, ready(resampler.push(block.reshape(num_stems * num_channels, block.shape[-1])))
    nothing = np.zeros((num_stems * num_channels, 0), np.float32)
    yield done, ready(resampler.push(nothing, is_last=True))
    if engine is not None:
        yield done, engine.finish()


def _blocks(stems: Sequence[TrackStem]) -> Iterator[tuple[int, Tracks]]:
    """How many samples are read, and the next block of all stems, float32 (S, C, n); more than two channels become one.

    Lossy codecs may pad a stem: the shortest ends all.
    """
    with ExitStack() as opened:
        decoders = [opened.enter_context(open_decoder(stem.path)) for stem in stems]
        facts = decoders[0].facts
        for stem, decoder in zip(stems, decoders, strict=True):
            if (decoder.facts.sample_rate, decoder.facts.num_channels) != (facts.sample_rate, facts.num_channels):
                raise InputError(f"{stem.name} differs from {stems[0].name} in rate or channels", code="mix-mismatch")
        done = 0
        for blocks in zip(*(decoder.blocks(_BLOCK_LENGTH) for decoder in decoders), strict=False):
            length = min(block.shape[-1] for block in blocks)
            block = np.stack([block[:, :length] for block in blocks])
            done += length
            yield done, block if block.shape[1] <= 2 else block.mean(axis=1, keepdims=True)
