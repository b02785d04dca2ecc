"""What the flagship must reach on voices it was never trained on, through the serving path; exits 1 where it fails.

    python benchmarks/flagship.py --data DATA --syn CACHE/syn_valid [--model chorus] [--only held rosters syn joined]

DATA holds `nino_dios/`; CACHE/syn_valid the chorales of `syn_valid.json` as `valid_choirs.py`
sings them with singer 4. These are validation figures: SI-SDR in dB, means over 4 s excerpts and the voices that sing.

- held: singer 4 of Niño Dios, seconds 80 to 100, each excerpt a recording of its own.
- rosters: every solo, pair and trio of the same excerpts with the roster given; and the same 20 s as one recording for
  each set of voices, scored excerpt by excerpt, with the roster given against `auto`.
- syn: chorales never trained on, re-sung by singer 4, 30 % staggered; with them the share of voiced frames in which a
  voice is given another voice's pitch.
- joined: the same chorales in shuffled order as one recording of ten minutes, against each by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import SeparationOptions, Separator
from divisi.separation.survey import survey
from divisi.settings import load_settings
from divisi_workshop.choirs.takes import SAMPLE_RATE
from divisi_workshop.evaluation.datasets import load_dataset
from divisi_workshop.metrics import si_sdr_db

VOICES = ("soprano", "alto", "tenor", "bass")
EXCERPT = 4 * SAMPLE_RATE
HELD_SECONDS = (80, 100)
SILENT_ENERGY = 40.0
"""Sum of squares in 4 s of a mixture at peak 1, below which a voice rests and is not scored."""
LABEL_HOP_SECONDS = 0.005
SAME_PITCH_CENTS = 50.0
BARS = {
    "held": 8.8,
    "pairs": 13.0,
    "weakest voice in pairs": 8.0,
    "solos": 25.0,
    "auto less than told, at most": 1.0,
    "syn": 7.0,
    "swapped frames, at most": 0.05,
    "joined apart from alone, at most": 0.3,
}


@dataclass(frozen=True)
class Result:
    """Estimates (4, T) and pitches (4, N) of one recording."""

    estimates: NDArray[np.float32]
    f0_hz: NDArray[np.float32]


@dataclass(frozen=True)
class Choir:
    """Sources (4, T) and labels (4, L) of one chorale."""

    sources: NDArray[np.float32]
    f0_hz: NDArray[np.float32]


class Scores:
    """SI-SDR by number of singers and voice."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], list[float]] = {}

    def add(self, estimates: NDArray[np.float32], sources: NDArray[np.float32], voices: Sequence[int]) -> None:
        """Scores consecutive excerpts of one recording, (4, T) each."""
        for start in range(0, sources.shape[1] - EXCERPT + 1, EXCERPT):
            excerpt = slice(start, start + EXCERPT)
            mixture = sources[list(voices), excerpt].sum(0)
            quietest = SILENT_ENERGY * float(np.abs(mixture).max()) ** 2
            for voice in voices:
                if np.sum(sources[voice, excerpt].astype(np.float64) ** 2) >= quietest:
                    value = float(si_sdr_db(estimates[voice, excerpt], sources[voice, excerpt]))
                    self.values.setdefault((len(voices), voice), []).append(value)

    def mean(self, size: int | None = None, voice: int | None = None) -> float:
        chosen = [
            value
            for (singers, part), values in self.values.items()
            if size in (None, singers) and voice in (None, part)
            for value in values
        ]
        return float(np.mean(chosen)) if chosen else float("nan")


def separate(separator: Separator, mixture: NDArray[np.float32], voices: tuple[str, ...] | None) -> Result:
    """One recording (T,) or (C, T) at peak 1, as a worker does it; the first channel of the estimates, at the level of
    the recording given.
    """
    level = float(np.abs(mixture).max()) or 1.0
    heard = np.atleast_2d(mixture) / level
    found = survey([heard], SAMPLE_RATE, len(heard))
    options = SeparationOptions(voices=voices, is_accompanied=separator.detect_accompaniment([heard], found))
    blocks = list(separator.separate([heard], SAMPLE_RATE, len(heard), found, options=options))
    tracks = [block.f0 for block in blocks if block.f0 is not None]
    stems = np.concatenate([block.stems[:, 0] for block in blocks], axis=-1) * level
    return Result(stems[: len(VOICES)], np.concatenate(tracks, axis=-1)[: len(VOICES)])


def held(separator: Separator, sources: NDArray[np.float32]) -> dict[str, float]:
    scores = Scores()
    for start in range(0, sources.shape[1], EXCERPT):
        excerpt = sources[:, start : start + EXCERPT]
        scores.add(separate(separator, excerpt.sum(0), None).estimates, excerpt, range(4))
    return {"held": scores.mean(), **{f"held, {name}": scores.mean(voice=place) for place, name in enumerate(VOICES)}}


def rosters(separator: Separator, sources: NDArray[np.float32]) -> dict[str, float]:
    alone, told, auto = Scores(), Scores(), Scores()
    wrong = []
    sets = [chosen for size in (1, 2, 3) for chosen in itertools.combinations(range(4), size)]
    for chosen in tqdm(sets, desc="rosters"):
        names = tuple(VOICES[place] for place in chosen)
        sung = np.zeros_like(sources)
        sung[list(chosen)] = sources[list(chosen)]
        for start in range(0, sources.shape[1], EXCERPT):
            excerpt = sung[:, start : start + EXCERPT]
            alone.add(separate(separator, excerpt.sum(0), names).estimates, excerpt, chosen)
        told.add(separate(separator, sung.sum(0), names).estimates, sung, chosen)
        mixture = sung.sum(0)
        heard = separator.detect_voices([mixture[None]], survey([mixture[None]], SAMPLE_RATE, 1)) or VOICES
        if heard != names:
            wrong.append(f"{'+'.join(names)} heard as {'+'.join(heard)}")
        auto.add(separate(separator, sung.sum(0), heard).estimates, sung, chosen)
    for line in wrong:
        Console().print(f"auto: {line}")
    return {
        "solos": alone.mean(1),
        "pairs": alone.mean(2),
        "weakest voice in pairs": min(alone.mean(2, voice) for voice in range(4)),
        "trios": alone.mean(3),
        "auto less than told, at most": max(told.mean(size) - auto.mean(size) for size in (1, 2, 3)),
    }


def syn(separator: Separator, choirs: Sequence[Choir]) -> tuple[dict[str, float], Scores]:
    scores = Scores()
    swapped = voiced = 0
    for choir in tqdm(choirs, desc="syn"):
        result = separate(separator, choir.sources.sum(0), None)
        scores.add(result.estimates, choir.sources, range(4))
        wrong, frames = count_swaps(result.f0_hz, choir.f0_hz, separator.f0_hop_seconds or 0.0)
        swapped, voiced = swapped + wrong, voiced + frames
    per_voice = {f"syn, {name}": scores.mean(voice=place) for place, name in enumerate(VOICES)}
    return {"syn": scores.mean(), **per_voice, "swapped frames, at most": swapped / voiced}, scores


def count_swaps(found: NDArray[np.float32], labels: NDArray[np.float32], hop_seconds: float) -> tuple[int, int]:
    """Frames in which a singing voice is given another's pitch and not its own, and frames in which a voice sings."""
    index = np.minimum((np.arange(found.shape[1]) * hop_seconds / LABEL_HOP_SECONDS).astype(int), labels.shape[1] - 1)
    true = labels[:, index]
    sings = true > 0
    cents = 1200 * np.abs(np.log2(np.maximum(found, 1.0)[:, None] / np.maximum(true, 1.0)[None]))
    near = (cents < SAME_PITCH_CENTS) & sings[None] & (found > 0)[:, None]
    own = np.einsum("vvn->vn", near)
    return int((sings & near.any(1) & ~own).sum()), int(sings.sum())


def joined(separator: Separator, choirs: Sequence[Choir], alone: Scores) -> dict[str, float]:
    order = np.random.default_rng(1).permutation(len(choirs))
    whole = np.concatenate([choirs[place].sources for place in order], axis=1)
    estimates = separate(separator, whole.sum(0), None).estimates
    scores, start = Scores(), 0
    for place in order:
        length = choirs[place].sources.shape[1]
        scores.add(estimates[:, start : start + length], choirs[place].sources, range(4))
        start += length
    seconds = whole.shape[1] / SAMPLE_RATE
    return {
        f"joined ({seconds:.0f} s)": scores.mean(),
        "joined apart from alone, at most": abs(scores.mean() - alone.mean()),
    }


def load_choirs(folder: Path) -> list[Choir]:
    choirs = []
    for path in sorted(folder.glob("choir_*.npz")):
        samples, _ = soundfile.read(path.with_suffix(".flac"), dtype="float32", always_2d=True)
        choirs.append(Choir(np.ascontiguousarray(samples.T), np.load(path)["f0_hz"]))
    return choirs


def is_met(name: str, value: float) -> bool:
    return value <= BARS[name] if name.endswith("at most") else value >= BARS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--syn", type=Path)
    parser.add_argument("--model", default="chorus")
    parser.add_argument("--only", nargs="+", default=["held", "rosters", "syn", "joined"])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    settings = load_settings()
    bundle = BundleStore(settings.model_store).get(arguments.model)
    separator = Separator(open_engine("onnx_runtime", bundle, EngineOptions("cpu", 1)), bundle.card)
    dataset = load_dataset("nino_dios", arguments.data)
    sources = dataset.sources[:, slice(*(second * SAMPLE_RATE for second in HELD_SECONDS))]
    figures: dict[str, float] = {}
    if "held" in arguments.only:
        figures |= held(separator, sources)
    if "rosters" in arguments.only:
        figures |= rosters(separator, sources)
    if arguments.syn is not None:
        choirs = load_choirs(arguments.syn)
        found, alone = syn(separator, choirs)
        figures |= found
        if "joined" in arguments.only:
            figures |= joined(separator, choirs, alone)
    table = Table("figure", "value", "bar", title=bundle.name)
    for name, value in figures.items():
        table.add_row(name, f"{value:.3f}", str(BARS.get(name, "")), style="red" if _fails(name, value) else "")
    Console().print(table)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(any(_fails(name, value) for name, value in figures.items()))


def _fails(name: str, value: float) -> bool:
    return name in BARS and not is_met(name, value)


if __name__ == "__main__":
    main()
