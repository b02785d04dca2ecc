"""Fundamental frequency labels for single-singer recordings, by WORLD.

The first step of training: every stem of a multitrack gets a track of its own pitch, which later teaches the pitch
network and drives the re-sung choirs. Tracks are cached, because Harvest runs at a fraction of real time.
"""

import argparse
import logging
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyworld
import soundfile

logger = logging.getLogger(__name__)

LABEL_HOP_SECONDS = 0.005
VOICE_RANGES_HZ = {
    "soprano": (170.0, 1100.0),
    "alto": (130.0, 800.0),
    "tenor": (85.0, 600.0),
    "bass": (60.0, 430.0),
}
SILENCE_RATIO = 0.01
"""Frames below this share of the loudest frame carry breath or a neighbour's voice, not a pitch of this singer."""


def label_f0(samples: np.ndarray, sample_rate: int, range_hz: tuple[float, float]) -> np.ndarray:
    """Track the pitch of one singer.

    Shape: `samples` (T,) float in ±1; returns (L,) float32, Hz every 5 ms, 0 where unvoiced.
    """
    signal = samples.astype(np.float64)
    low_hz, high_hz = range_hz
    frame_ms = 1000 * LABEL_HOP_SECONDS
    coarse, times = pyworld.harvest(signal, sample_rate, f0_floor=low_hz, f0_ceil=high_hz, frame_period=frame_ms)
    refined = pyworld.stonemask(signal, coarse, times, sample_rate)
    levels = frame_levels(signal, len(refined), sample_rate)
    refined[levels < SILENCE_RATIO * levels.max(initial=0.0)] = 0.0
    return refined.astype(np.float32)


def frame_levels(samples: np.ndarray, frame_count: int, sample_rate: int, window_seconds: float = 0.04) -> np.ndarray:
    """Root mean square around each label frame. Shape: (T,) -> (frame_count,)."""
    half = int(window_seconds * sample_rate / 2)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.round(np.arange(frame_count) * LABEL_HOP_SECONDS * sample_rate).astype(int)
    starts = np.clip(centres - half, 0, len(samples))
    stops = np.clip(centres + half, 0, len(samples))
    return np.sqrt((energy[stops] - energy[starts]) / np.maximum(stops - starts, 1))


def label_file(recording: Path, voice: str, label_folder: Path) -> Path:
    """Label one recording and cache the track beside its name; an existing track is kept."""
    target = label_folder / f"{recording.stem}.npy"
    if not target.exists():
        samples, sample_rate = soundfile.read(recording, dtype="float64")
        track = label_f0(samples, sample_rate, VOICE_RANGES_HZ[voice])
        label_folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial.npy")
        np.save(partial, track)
        partial.replace(target)
        logger.info("labelled %s: %.0f %% voiced", recording.name, 100 * np.mean(track > 0))
    return target


def label_folder(recordings: Path, labels: Path, processes: int = 1) -> list[Path]:
    """Label every `<voice>_<singer>.flac` of a folder."""
    files = [path for path in sorted(recordings.glob("*.flac")) if voice_of(path) in VOICE_RANGES_HZ]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(label_file, files, map(voice_of, files), [labels] * len(files)))


def voice_of(recording: Path) -> str:
    """`soprano_2.flac` is sung by a soprano."""
    return recording.stem.rpartition("_")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=Path, required=True, help="folder of <voice>_<singer>.flac")
    parser.add_argument("--labels", type=Path, required=True, help="folder for the cached tracks")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    label_folder(arguments.recordings, arguments.labels, arguments.processes)


if __name__ == "__main__":
    main()
