"""How long a set of learning tracks takes on one core, and how much memory: 4 parts × 3 layouts of a song of 4 minutes.

    python benchmarks/learning_tracks.py [--stems folder] [--format mp3] [--speed 80] [--semitones -2]

Without stems it takes the true sources of the sample recording, over and over. The child is the one that serves. Prints
its CPU seconds, how many times faster than they play it makes the tracks, its peak memory, how many tracks it made, and
how far any two of them are apart at the end. Bars, at the original speed: 40 s of CPU time, 300 MB; at any speed: 1 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from divisi.contract.tracks import Layout, TrackFormat, TrackSetOptions, tracks_of
from divisi.sample import SOURCES, source_path
from divisi.tracks.child import make_in_child
from divisi.tracks.making import TrackOrder, TrackStem

MOST_SECONDS, MOST_MEGABYTES, MOST_APART_MS = 40.0, 300.0, 1.0
SONG_SECONDS = 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stems", type=Path, help="folder of FLAC files, one a part")
    parser.add_argument("--format", type=TrackFormat, default=TrackFormat.MP3)
    parser.add_argument("--speed", type=int, default=100)
    parser.add_argument("--semitones", type=int, default=0)
    arguments = parser.parse_args()
    layouts = (Layout.FRONT, Layout.WITHOUT, Layout.LEFT)
    options = TrackSetOptions(
        format=arguments.format, speed=arguments.speed, semitones=arguments.semitones, choir="Choir", layouts=layouts
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(arguments.stems.glob("*.flac")) if arguments.stems else _sample_stems(Path(folder))
        stems = tuple(TrackStem(path.stem, path) for path in paths)
        tracks = tuple(tracks_of([stem.name for stem in stems], options))
        asyncio.run(make_in_child(TrackOrder(stems, tracks, options, "Song"), Path(folder), lambda _: None))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = [Path(folder) / f"{track.slug}.{options.format}" for track in tracks]
        apart = _milliseconds_apart(made)
        size = sum(path.stat().st_size for path in made) / 1e6
        playing_seconds = sum(soundfile.info(path).duration for path in made)
    seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(
        f"{len(tracks)} tracks of {options.format}, {options.speed} %, {options.semitones:+d} semitones, {size:.0f} MB"
    )
    print(f"  CPU time {seconds:.1f} s (bar {MOST_SECONDS:g} s at the original speed and key)")
    print(f"  {playing_seconds / seconds:.0f} times faster than the tracks play")
    print(f"  peak memory {megabytes:.0f} MB (bar {MOST_MEGABYTES:g} MB)")
    print(f"  tracks apart {apart:.3f} ms (bar {MOST_APART_MS:g} ms)")
    is_quick = seconds <= MOST_SECONDS or bool(options.change)
    raise SystemExit(0 if is_quick and megabytes <= MOST_MEGABYTES and apart <= MOST_APART_MS else 1)


def _sample_stems(folder: Path) -> list[Path]:
    """Stereo at 44.1 kHz, with a place of its own for every part."""
    paths = []
    for place, name in enumerate(SOURCES):
        samples, sample_rate = soundfile.read(source_path(name), always_2d=True)
        paths.append(folder / f"{place} {name}.flac")
        # Piece by piece: what this process takes at its peak counts as its child's, too.
        with soundfile.SoundFile(paths[-1], "w", sample_rate, samples.shape[1], subtype="PCM_24") as file:
            left = SONG_SECONDS * sample_rate
            while left:
                file.write(samples[:left])
                left -= min(left, len(samples))
    return paths


def _milliseconds_apart(paths: list[Path]) -> float:
    """Largest shift of a track against the first in the last 20 seconds, where their sound fits best."""
    ends = []
    for path in paths:
        with soundfile.SoundFile(path) as file:
            file.seek(max(0, file.frames - 20 * file.samplerate))
            ends.append(np.fft.rfft(file.read(always_2d=True).sum(axis=1), 1 << 21))
            sample_rate = file.samplerate
    shifts = [np.fft.irfft(end * ends[0].conj()) for end in ends]
    places = [int(shift.argmax()) for shift in shifts]
    return max(min(place, len(shifts[0]) - place) for place in places) * 1000 / sample_rate


if __name__ == "__main__":
    main()
