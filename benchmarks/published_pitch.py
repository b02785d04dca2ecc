"""The published pitch networks in our code: do they find the published share of pitches on Niño Dios?

    python benchmarks/published_pitch.py --data DIR [--labels DIR]

DIR holds `nino_dios/` and `pretrained_f0/`; the labels are those of `divisi_workshop.choirs.takes`. Counted are
voiced frames whose pitch stays within a semitone for 30 ms on both sides: a confident tracker labels no others.
Published figures were counted on frames that CREPE is confident of.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, VOICES
from divisi_workshop.evaluation.datasets import load_dataset
from divisi_workshop.published.checkpoints import load_assigner, load_multi_f0
from divisi_workshop.published.multi_f0 import MultiF0, VoiceAssigner
from divisi_workshop.published.salience_to_f0 import LinkConfig

PUBLISHED_RECALL = (98.0, 97.5, 95.8, 93.2)
PUBLISHED_ACCURACY = (73.5, 72.7, 69.8, 80.4)
PEAK_THRESHOLD = 0.3
TOLERANCE_CENTS = 50.0
STEADY_FRAMES = 6
STEADY_CENTS = 100.0


@dataclass
class Counts:
    """Of one voice: frames that count, frames with a peak at the pitch, frames given to the right voice."""

    frames: int = 0
    recalled: int = 0
    assigned: int = 0


def steady(track: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Pitch at the indices where it is voiced and steady, else 0."""
    pitch = track[index]
    keeps = pitch > 0
    for offset in (-STEADY_FRAMES, STEADY_FRAMES):
        neighbour = track[np.clip(index + offset, 0, len(track) - 1)]
        cents = 1200 * np.abs(np.log2(np.maximum(neighbour, 1.0) / np.maximum(pitch, 1.0)))
        keeps &= (neighbour > 0) & (cents < STEADY_CENTS)
    return np.where(keeps, pitch, 0.0)


@torch.no_grad()
def measure(data: Path, labels: Path, num_excerpts: int) -> list[Counts]:
    """Counts of every voice over the excerpts of the published test."""
    torch.set_num_threads(1)
    front, assigner = MultiF0().eval(), VoiceAssigner().eval()
    load_multi_f0(front, data / "pretrained_f0" / "late_deep.npz")
    load_assigner(assigner, data / "pretrained_f0" / "voas_cnn.npz")
    tracks = [np.load(labels / f"{voice}_4.npy") for voice in VOICES]
    frequencies_hz = front.hcqt.frequencies_hz().numpy()[:, None]
    counts = [Counts() for _ in VOICES]
    for excerpt in load_dataset("nino_dios", data).excerpts()[:num_excerpts]:
        salience = front(torch.from_numpy(excerpt.mixture)[None])
        by_voice = assigner(salience)[0].numpy()
        values = np.pad(salience[0, 0].numpy(), ((1, 1), (0, 0)))
        is_peak = (values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:]) & (values[1:-1] >= PEAK_THRESHOLD)
        seconds = excerpt.start / SAMPLE_RATE + np.arange(is_peak.shape[1]) * 256 / 22_050
        index = np.round(seconds / LABEL_HOP_SECONDS).astype(int)
        for voice, (track, count) in enumerate(zip(tracks, counts, strict=True)):
            pitch = steady(track, index)
            near = 1200 * np.abs(np.log2(frequencies_hz / np.maximum(pitch, 1.0))) <= TOLERANCE_CENTS
            best = by_voice[voice].argmax(0)
            is_given = by_voice[voice].max(0) >= LinkConfig().thresholds[voice]
            count.frames += int((pitch > 0).sum())
            count.recalled += int(((is_peak & near).any(0) & (pitch > 0)).sum())
            count.assigned += int((is_given & near[best, np.arange(len(best))] & (pitch > 0)).sum())
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="folder of `<voice>_4.npy`")
    parser.add_argument("--excerpts", type=int, default=24)
    arguments = parser.parse_args()
    counts = measure(arguments.data, arguments.labels, arguments.excerpts)
    table = Table(title="Published pitch networks on Niño Dios, % of frames within 50 cents")
    for heading in ("", *VOICES, "mean"):
        table.add_column(heading, justify="right")
    recall = [100 * count.recalled / count.frames for count in counts]
    accuracy = [100 * count.assigned / count.frames for count in counts]
    rows = (
        ("a peak at the pitch, here", recall),
        ("published", PUBLISHED_RECALL),
        ("in the right voice, here", accuracy),
        ("published", PUBLISHED_ACCURACY),
    )
    for name, values in rows:
        table.add_row(name, *(f"{value:.1f}" for value in values), f"{np.mean(values):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
