"""What the refiner learns from: choirs dry, in rooms, with several singers a part, as the earlier stages leave them.

    python -m divisi_workshop.learning.choir_examples --data DATA --guests CACHE/guests --halls CACHE/halls \\
        --chorus RUN/checkpoint.pt --out CACHE/choir_examples --count 600

Every example is made from its number and the seed alone, so an interrupted run goes on where it stopped, and a training
run (`refine`) may already read what is there.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy import fft
from tqdm import tqdm

from divisi_workshop.choirs.rooms import compressor_gain, load_halls, noise_hall, random_equaliser, random_microphone
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Choir, Part, excerpt
from divisi_workshop.learning.train import load_network
from divisi_workshop.networks import chorus
from divisi_workshop.networks.choir_refiner import REFINED_BINS

HOP = 512
FRAMES = 160
LENGTH = FRAMES * HOP
LEAD_IN = 2 * SAMPLE_RATE
"""What a room has heard before an example begins."""
KINDS = ("dry", "room", "section", "section in a room")
KIND_SHARES = (0.26, 0.32, 0.14, 0.28)
TAKE_CENTS, TAKE_SECONDS = 12.0, 0.06
SPECTRUM_SCALE = 64.0
"""Stored spectra are this much larger: half precision is coarse near 0."""
QUIETEST = 1e-4
KEPT_SINGER = 4
KEPT_SECONDS = (29.0, 51.0)
"""Of the training singers' song: where they join singer 4 in validation choirs."""


@dataclass(frozen=True)
class Example:
    """Mixture (T,) of unit deviation, sources (4, T), roster (4,)."""

    kind: str
    mixture: np.ndarray
    sources: np.ndarray
    roster: np.ndarray


@dataclass(frozen=True)
class ExampleOptions:
    """How examples are drawn; shares are probabilities, spreads in semitones, decibels and seconds."""

    incoherent_share: float = 0.2
    missing_share: float = 0.25
    told_share: float = 0.6
    shoebox_share: float = 0.5
    compressed_share: float = 0.1
    transpose_semitones: float = 4.0
    gain_db: float = 3.0
    noise_db: tuple[float, float] = (-60.0, -36.0)


@dataclass(frozen=True)
class Source:
    """A choir to draw from, how often, how far it may be transposed, and seconds of it that are kept for validation."""

    choir: Choir
    weight: float
    kept_seconds: tuple[float, float] = (0.0, 0.0)


class ExampleMaker:
    """Draws examples from choirs whose parts may have several takes."""

    def __init__(self, sources: Sequence[Source], halls: Sequence[np.ndarray], options: ExampleOptions) -> None:
        self.sources = list(sources)
        self.halls = list(halls)
        self.options = options
        weights = np.array([source.weight for source in self.sources])
        self.shares = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> Example:
        """One example; of those that turn out silent another is drawn."""
        while True:
            example = self._draw(rng)
            if example is not None:
                return example

    def _draw(self, rng: np.random.Generator) -> Example | None:
        kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
        source = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
        options = self.options
        common = float(rng.uniform(-options.transpose_semitones, options.transpose_semitones))
        start = self.start(rng, source)
        is_incoherent = rng.random() < options.incoherent_share
        stage = Stage(rng, "room" in kind, self.halls, options.shoebox_share)
        parts = []
        for takes in source.choir.parts:
            if is_incoherent:
                start = self.start(rng, source)
                common = float(rng.uniform(-options.transpose_semitones, options.transpose_semitones))
            count = int(rng.integers(2, 5)) if "section" in kind else 1
            sung = []
            for _ in range(count):
                take = takes[int(rng.integers(len(takes)))]
                late = rng.uniform(0, TAKE_SECONDS) if count > 1 else 0.0
                detuned = common + (rng.normal(0, TAKE_CENTS / 100) if count > 1 else 0.0)
                samples, _ = excerpt(take, start - late, detuned, LENGTH + LEAD_IN, HOP)
                sung.append(stage.place(samples) * 10 ** (rng.normal(0, 2) / 20))
            parts.append(np.sum(sung, axis=0) * 10 ** (rng.normal(0, options.gain_db) / 20))
        return self.mixed(rng, kind, np.stack(parts))

    def mixed(self, rng: np.random.Generator, kind: str, sources: np.ndarray) -> Example | None:
        """Some voices may be missing; noise; unit deviation. None where it is silent."""
        options = self.options
        sings = np.ones(4)
        if rng.random() < options.missing_share:
            sings[rng.permutation(4)[: rng.choice([1, 2, 3], p=[0.35, 0.5, 0.15])]] = 0
        roster = sings if rng.random() < options.told_share else np.ones(4)
        sources = sources * sings[:, None]
        if rng.random() < options.compressed_share:
            sources = sources * compressor_gain(rng, sources.sum(0))
        level = float(np.sqrt(np.mean(sources.sum(0) ** 2)))
        if level < QUIETEST:
            return None
        noise = 10 ** (rng.uniform(*options.noise_db) / 20) * rng.standard_normal(sources.shape[1])
        mixture = sources.sum(0) / level + noise
        return Example(
            kind, mixture.astype(np.float32), (sources / level).astype(np.float32), roster.astype(np.float32)
        )

    def start(self, rng: np.random.Generator, source: Source) -> float:
        """A moment from which one excerpt fits, outside of what is kept."""
        needed = (LENGTH + LEAD_IN) / SAMPLE_RATE * 2 ** (self.options.transpose_semitones / 12)
        low, high = source.kept_seconds
        while True:
            start = float(rng.uniform(0.0, max(source.choir.seconds - needed, 0.01)))
            if start + needed < low or start > high or low == high:
                return start


class Stage:
    """Where one choir stands: a room or none, before one microphone."""

    def __init__(
        self, rng: np.random.Generator, has_room: bool, halls: Sequence[np.ndarray], shoebox_share: float
    ) -> None:
        self.rng = rng
        self.responses: np.ndarray | None = None
        if has_room:
            is_shoebox = bool(halls) and rng.random() < shoebox_share
            self.responses = halls[int(rng.integers(len(halls)))] if is_shoebox else noise_hall(rng, 16)
        self.order: list[int] = []
        tail = 2048 if self.responses is None else self.responses.shape[1]
        self.size = fft.next_fast_len(LENGTH + LEAD_IN + tail, real=True)
        self.frequencies_hz = np.arange(self.size // 2 + 1) * (SAMPLE_RATE / self.size)
        self.microphone = random_microphone(rng, self.frequencies_hz)

    def place(self, samples: np.ndarray) -> np.ndarray:
        """One singer at the next free place. Shape: (LENGTH + LEAD_IN,) -> (LENGTH,), without the lead-in."""
        spectrum = fft.rfft(samples, self.size) * self.microphone
        spectrum = spectrum * random_equaliser(self.rng, self.frequencies_hz).astype(np.float32)
        if self.responses is not None:
            if not self.order:
                self.order = self.rng.permutation(len(self.responses)).tolist()
            spectrum = spectrum * fft.rfft(self.responses[self.order.pop()], self.size)
        placed: np.ndarray = fft.irfft(spectrum, self.size)[LEAD_IN : LEAD_IN + LENGTH]
        return placed.astype(np.float32)


@torch.no_grad()
def first_stages(network: chorus.Chorus, example: Example, device: torch.device) -> dict[str, np.ndarray]:
    """What the refiner is given of one example, in half precision.

    `spectra` (9, 2, REFINED_BINS, N): mixture, estimates, sources, real and imaginary, times SPECTRUM_SCALE; `masks`
    (4, REFINED_BINS, N); `f0_hz` and `voicing` (4, N) in single precision; `roster` (4,).
    """
    signal = torch.from_numpy(example.mixture)[None].to(device)
    roster = torch.from_numpy(example.roster)[None].to(device)
    signal = signal / signal.square().mean().sqrt()
    first = network.first_stages(signal, roster)
    sources = network.fourier.analyse(torch.from_numpy(example.sources).to(device))
    stacked = [
        torch.cat([part[:, :REFINED_BINS] for part in (mixed, own[0], true)])
        for mixed, own, true in zip(first.mixture, first.estimates(), sources, strict=True)
    ]
    return {
        "spectra": (torch.stack(stacked, dim=1) * SPECTRUM_SCALE).half().cpu().numpy(),
        "masks": first.masks[0, :, :REFINED_BINS].half().cpu().numpy(),
        "f0_hz": first.f0_hz[0].cpu().numpy(),
        "voicing": first.voicing[0].cpu().numpy(),
        "roster": example.roster,
        "kind": np.array(KINDS.index(example.kind)),
    }


def load_sources(data: Path, guests: Path, singers: Sequence[int] = (1, 2, 3)) -> list[Source]:
    """Recorded singers and, where made, guests (see `guest_choirs`), as often as each other."""
    if KEPT_SINGER in singers:
        raise ValueError(f"singer {KEPT_SINGER} is kept for validation and must not be trained on")
    recorded = Choir(
        tuple(tuple(read_take(data / "nino_dios" / f"{voice}_{singer}.flac") for singer in singers) for voice in VOICES)
    )
    choirs = load_guests(guests)
    return [Source(recorded, 1.0, KEPT_SECONDS), *(Source(choir, 1 / len(choirs)) for choir in choirs)]


def load_guests(folder: Path) -> list[Choir]:
    """Choirs of `guest_choirs`: one file a part, each channel a take."""
    choirs = []
    for path in sorted(folder.glob("choir_*_bass.flac")):
        name = path.name.removesuffix("_bass.flac")
        parts = []
        for voice in VOICES:
            takes, _ = soundfile.read(folder / f"{name}_{voice}.flac", dtype="int16", always_2d=True)
            parts.append(tuple(Part(name, np.ascontiguousarray(take), np.zeros(1, np.float32)) for take in takes.T))
        choirs.append(Choir(tuple(parts)))
    return choirs


def read_take(path: Path) -> Part:
    """A recording without labels: the refiner needs none."""
    samples, sample_rate = soundfile.read(path, dtype="int16")
    if sample_rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected {SAMPLE_RATE} Hz mono, found {sample_rate} Hz, shape {samples.shape}")
    return Part(path.stem, samples, np.zeros(1, np.float32))


def save_example(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write in one piece."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds nino_dios/")
    parser.add_argument("--guests", type=Path, required=True)
    parser.add_argument("--halls", type=Path, required=True)
    parser.add_argument("--chorus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--singers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(arguments.chorus)
    maker = ExampleMaker(
        load_sources(arguments.data, arguments.guests, arguments.singers), load_halls(arguments.halls), ExampleOptions()
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(arguments.first, arguments.first + arguments.count), desc="mixing", mininterval=20):
        path = arguments.out / f"example_{number:06d}.npz"
        if not path.exists():
            example = maker.draw(np.random.default_rng((arguments.seed, number)))
            save_example(path, first_stages(network, example, torch.device("cpu")))


if __name__ == "__main__":
    main()
