"""Ours and pyroomacoustics' FastMNMF2 side by side on quintets under eight microphones: quality, time, likelihood.

    python benchmarks/fast_mnmf.py rooms [--rooms 5] [--seconds 12] [--iterations 30]
    python benchmarks/fast_mnmf.py likelihood [--recording FOLDER] [--iterations 100]
    python benchmarks/fast_mnmf.py quality [--model fastmnmf2-quintet] [--blind]
    python benchmarks/fast_mnmf.py memory [--minutes 3]

rooms: simulated rooms, RT60 0.3 to 0.6 s. Ours is served from the model store, all its iterations counted (20 of the 30
listen to the spot microphones); theirs is blind, as it knows no other way, and its sources are put in the order that
scores best. Bars: ours at least 6 dB above the spot microphones and 1 dB above theirs, its images within -90 dBFS of
the recording, and an iteration of theirs at least 2.5 times as long as one of ours.

likelihood: both from one start, circular gains and the same random factors, on a folder of mono files (one each
microphone) or on a simulated room. Bar: ours at least as likely at the end.

quality: ours alone, as the card has it, on the same rooms; what the model's card says comes from here. The quintet's
model hears the whole room, `fastmnmf2` and `ilrma` the flute and the first violin: by their spot microphones (and, for
`fastmnmf2`, the room's centre), which they are told of; with --blind by the distant microphones alone (of three,
`ilrma` takes the outer two), scored at the first of them, in the order that scores best.

memory: a recording of eight channels at 44.1 kHz through the files' path; bar: less than 4 GB at the peak.

Theirs runs in double precision on one thread, as numpy does; ours in single precision on one thread. Times are of the
processor (the process's own), so that other work on the machine counts for neither. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from pyroomacoustics.bss import fastmnmf2
from quintet import NUM_MICROPHONES, NUM_SPOTS, ImageScores, QuintetRoom, score_images, simulate_quintet
from rich.console import Console

from divisi.audio.decode import open_decoder
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import separate_file
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_fitter
from divisi.models.plan import FitRequest, Spot, plan_fit
from divisi.separation.fitted_separator import FittedSeparator
from divisi.separation.separator import SeparationOptions
from divisi.settings import load_settings
from divisi_workshop.networks.fast_mnmf import FastMnmf

MODEL = "fastmnmf2-quintet"
FFT_LENGTH, NUM_BASES, NUM_SOURCES = 4096, 32, 5
SAMPLE_RATE = 44_100
RT60_SECONDS = (0.3, 0.375, 0.45, 0.525, 0.6)
SPOT_ITERATIONS = 20
# Players and microphones of the quintet's rooms, as `quintet_rooms` orders them.
DUO, DISTANT = (0, 3), (5, 6, 7)
IMPROVEMENT_BAR_DB, ADVANTAGE_BAR_DB, SPEED_BAR, SUM_BAR_DBFS, MEMORY_BAR = 6.0, 1.0, 2.5, -90.0, 4e9

Array = NDArray[np.floating]
console = Console(width=140)


def main() -> int:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["rooms", "quality", "likelihood", "memory"])
    parser.add_argument("--rooms", type=int, default=len(RT60_SECONDS))
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--model", default=MODEL, choices=[MODEL, "fastmnmf2", "ilrma"])
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    if options.part == "rooms":
        return compare_rooms(options.rooms, options.seconds, options.iterations or 30)
    if options.part == "quality":
        return measure_quality(options.model, options.rooms, options.seconds, is_blind=options.blind)
    if options.part == "likelihood":
        return compare_likelihoods(options.recording, options.seconds, options.iterations or 100)
    return measure_memory(options.minutes)


def compare_rooms(num_rooms: int, seconds: float, num_iterations: int) -> int:
    separator = open_separator()
    ours: list[ImageScores] = []
    theirs: list[ImageScores] = []
    ratios, sums = [], []
    for number, rt60_seconds in enumerate(RT60_SECONDS[:num_rooms]):
        room = simulate_quintet(rt60_seconds, seconds, SAMPLE_RATE, number)
        images, our_seconds = separate_by_ours(separator, room, num_iterations - SPOT_ITERATIONS)
        ours.append(score_images(images, room.images, room.mixture, range(NUM_SPOTS)))
        sums.append(dbfs(np.abs(images.sum(axis=0, dtype=np.float64) - room.mixture).max()))
        images, their_seconds = separate_by_theirs(room, num_iterations)
        theirs.append(score_images(images, room.images, room.mixture, range(NUM_SPOTS), finds_order=True))
        ratios.append(their_seconds / our_seconds)
        console.print(f"room {number + 1}, RT60 {rt60_seconds} s, {num_iterations} iterations of each")
        for name, scores, seconds_each in (("ours", ours[-1], our_seconds), ("theirs", theirs[-1], their_seconds)):
            console.print(
                f"  {name:6} SI-SDR {scores.si_sdr.mean():6.2f} dB, {scores.improvement:+6.2f} over the spots; "
                f"SDR {scores.sdr.mean():6.2f}, SIR {scores.sir.mean():6.2f}, SAR {scores.sar.mean():6.2f} dB; "
                f"{seconds_each:.2f} s an iteration"
            )
        console.print(f"  sum of images - recording {sums[-1]:.1f} dBFS; theirs takes {ratios[-1]:.1f} times as long")
    improvement = float(np.mean([scores.improvement for scores in ours]))
    advantage = improvement - float(np.mean([scores.improvement for scores in theirs]))
    return verdict(
        (f"improvement {improvement:.2f} dB, bar {IMPROVEMENT_BAR_DB}", improvement >= IMPROVEMENT_BAR_DB),
        (f"advantage {advantage:.2f} dB, bar {ADVANTAGE_BAR_DB}", advantage >= ADVANTAGE_BAR_DB),
        (f"speed {np.median(ratios):.1f} times theirs, bar {SPEED_BAR}", float(np.median(ratios)) >= SPEED_BAR),
        (f"sum {max(sums):.1f} dBFS, bar {SUM_BAR_DBFS}", max(sums) <= SUM_BAR_DBFS),
    )


def measure_quality(model_id: str, num_rooms: int, seconds: float, *, is_blind: bool) -> int:
    separator = open_separator(model_id)
    spots: tuple[Spot, ...] = ()
    microphones: Sequence[int] = range(NUM_MICROPHONES)
    channels: Sequence[int] = range(NUM_SPOTS)
    if model_id != MODEL:
        distant = (DISTANT[0], DISTANT[2]) if model_id == "ilrma" else DISTANT
        near = DUO if model_id == "ilrma" else (*DUO, DISTANT[1])
        microphones = distant if is_blind else near
        spots = () if is_blind else tuple(Spot(name, place + 1) for place, name in enumerate(separator.card.stems))
        channels = (0, 0) if is_blind else range(len(DUO))
    options = SeparationOptions(fit=FitRequest(spots=spots))
    scores, times = [], []
    for number, rt60_seconds in enumerate(RT60_SECONDS[:num_rooms]):
        room = simulate_quintet(rt60_seconds, seconds, SAMPLE_RATE, number)
        if model_id != MODEL:
            room = part_of(room, DUO, microphones)
        began = time.process_time()
        blocks = separator.separate([room.mixture], SAMPLE_RATE, len(room.mixture), options=options)
        images = np.concatenate([block.stems for block in blocks], axis=2)
        times.append((time.process_time() - began) / seconds)
        scores.append(score_images(images, room.images, room.mixture, channels, finds_order=is_blind))
        stems = " ".join(f"{value:.2f}" for value in scores[-1].si_sdr)
        console.print(
            f"RT60 {rt60_seconds} s: {scores[-1].improvement:+.2f} dB, stems {stems} dB, {times[-1]:.2f} × real time"
        )
    for place, name in enumerate(separator.card.stems):
        console.print(f"{name:10} SI-SDR {np.mean([score.si_sdr[place] for score in scores]):6.2f} dB")
    for name in ("recording_si_sdr", "si_sdr", "sdr", "sir", "sar"):
        console.print(f"mean {name:17} {np.mean([getattr(score, name) for score in scores]):6.2f} dB")
    improvement = float(np.mean([score.improvement for score in scores]))
    console.print(f"mean improvement {improvement:.2f} dB; {np.mean(times):.2f} × real time on one thread")
    bar = IMPROVEMENT_BAR_DB if model_id == MODEL else 0.0  # the others promise no figure, only to help
    return verdict((f"improvement {improvement:.2f} dB, bar {bar}", improvement >= bar))


def part_of(room: QuintetRoom, players: Sequence[int], microphones: Sequence[int]) -> QuintetRoom:
    """The same recording as if the other players had been silent and the other microphones absent."""
    noise = room.mixture - room.images.sum(axis=0)
    images = room.images[np.ix_(players, microphones)]
    return replace(room, images=images, mixture=images.sum(axis=0) + noise[list(microphones)])


def open_separator(model_id: str = MODEL) -> FittedSeparator:
    bundle = BundleStore(load_settings().model_store).get(model_id)
    return FittedSeparator(open_fitter(bundle, EngineOptions("cpu", num_threads=1)), bundle.card)


def separate_by_ours(separator: FittedSeparator, room: QuintetRoom, num_iterations: int) -> tuple[Array, float]:
    """Images (S, C, T), and seconds for one full iteration: timed alone, without those at the spots."""
    num_channels = len(room.mixture)
    request = FitRequest(num_iterations=num_iterations)
    plan = plan_fit(separator.card, request, num_channels, room.sample_rate)
    times = []
    for number, _ in enumerate(separator.engine.fit(room.mixture[None], plan)):
        if number >= SPOT_ITERATIONS:
            times.append(time.process_time())
    images = np.stack([separator.engine.image(source)[0] for source in range(plan.num_sources)])
    return images, (times[-1] - times[0]) / (len(times) - 1)


def separate_by_theirs(room: QuintetRoom, num_iterations: int) -> tuple[Array, float]:
    """Images (S, C, T), and seconds for one iteration."""
    spectra = spectra_of(room.mixture)
    np.random.seed(0)
    began = time.process_time()
    separated = fastmnmf2(
        spectra.transpose(2, 1, 0).copy(), NUM_SOURCES, num_iterations, NUM_BASES, mic_index="all"
    )  # (C, N, F, S)
    seconds = (time.process_time() - began) / num_iterations
    images = torch.istft(
        torch.from_numpy(separated.transpose(3, 0, 2, 1).reshape(-1, *spectra.shape[1:])),
        FFT_LENGTH,
        FFT_LENGTH // 4,
        window=torch.hann_window(FFT_LENGTH, dtype=torch.float64),
        length=room.mixture.shape[1],
    )
    return images.reshape(NUM_SOURCES, *room.mixture.shape).numpy(), seconds


def compare_likelihoods(folder: Path | None, seconds: float, num_iterations: int) -> int:
    if folder is None:
        room = simulate_quintet(RT60_SECONDS[2], seconds, SAMPLE_RATE, seed=2)
        samples, sample_rate = room.mixture, room.sample_rate
    else:
        samples, sample_rate = read_folder(folder, seconds)
    spectra = spectra_of(samples)
    level = np.sqrt(np.mean(np.abs(spectra) ** 2))
    spectra = spectra / level
    _, num_bins, num_frames = spectra.shape
    np.random.seed(0)
    state = np.random.get_state()  # theirs draws the activations first, then the bases
    activations = np.random.rand(NUM_SOURCES, NUM_BASES, num_frames)
    bases = np.random.rand(NUM_SOURCES, num_bins, NUM_BASES)
    np.random.set_state(state)
    their_course, their_seconds = follow_theirs(spectra, num_iterations)
    our_course, our_seconds = follow_ours(samples, spectra, bases, activations, num_iterations)
    console.print(f"{samples.shape[1] / sample_rate:.1f} s, {len(samples)} channels at {sample_rate} Hz; one thread")
    for iteration, theirs in their_course.items():
        ours = our_course[iteration]
        difference = ours - theirs
        console.print(f"  after {iteration:3}: ours {ours:.6e}, theirs {theirs:.6e}, difference {difference:+.3e}")
    console.print(f"  ours {our_seconds:.1f} s, theirs {their_seconds:.1f} s of processor time")
    ours, theirs = our_course[num_iterations], their_course[num_iterations]
    return verdict((f"log-likelihood after {num_iterations}: {ours:.6e} against {theirs:.6e}", ours >= theirs))


def read_folder(folder: Path, seconds: float) -> tuple[Array, int]:
    """Mono files of a folder in order, as one recording (C, T)."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac"))
    parts = [soundfile.read(path, dtype="float32") for path in files]
    sample_rate = parts[0][1]
    return np.stack([samples[: round(seconds * sample_rate)] for samples, _ in parts]), sample_rate


class _Enough(Exception):  # noqa: N818  (no error: it ends their loop)
    pass


def follow_theirs(spectra: Array, num_iterations: int) -> tuple[dict[int, float], float]:
    """Log-likelihood by iteration, read from their function's own variables every ten iterations, and its seconds."""
    course: dict[int, float] = {}
    clock = _Clock()

    def look(_: Array) -> None:
        with clock.paused():
            inside = sys._getframe(1).f_locals
            factors = (inside["W_NFK"], inside["H_NKT"], inside["g_NM"], inside["Q_FMM"])
            course[inside["epoch"]] = log_likelihood(spectra, *factors)
            if inside["epoch"] == num_iterations:
                raise _Enough

    with suppress(_Enough):
        fastmnmf2(spectra.transpose(2, 1, 0).copy(), NUM_SOURCES, num_iterations + 1, NUM_BASES, callback=look)
    return course, clock.seconds()


def follow_ours(
    samples: Array, spectra: Array, bases: Array, activations: Array, num_iterations: int
) -> tuple[dict[int, float], float]:
    """The same of ours, in single precision as it is served."""
    module = torch.jit.script(FastMnmf())
    gains = np.full((NUM_SOURCES, len(samples)), 0.05, np.float32)
    gains[np.arange(len(samples)) % NUM_SOURCES, np.arange(len(samples))] = 1
    course = {}
    with torch.inference_mode():
        level = float(np.sqrt(np.mean(np.abs(spectra_of(samples)) ** 2)))
        scale = torch.full((len(samples),), level / float(torch.hann_window(FFT_LENGTH).square().sum().sqrt()))
        clock = _Clock()
        fit = module.analyse(torch.from_numpy(samples)[None], scale, FFT_LENGTH, False)
        start = [torch.from_numpy(array.astype(np.float32)) for array in (bases, activations, gains)]
        fit = module.start(fit, *start)
        for number in range(num_iterations + 1):
            if number % 10 == 0 or number == num_iterations:
                with clock.paused():
                    factors = [fit[name].double().numpy() for name in ("bases", "activations", "gains")]
                    course[number] = log_likelihood(spectra, *factors, fit["diagonaliser"].to(torch.complex128).numpy())
            if number < num_iterations:
                fit = module.iterate(fit, True, True, False, 32)
                if number % 10 == 0:
                    fit = module.normalise(fit)
    return course, clock.seconds()


def log_likelihood(spectra: Array, bases: Array, activations: Array, gains: Array, diagonaliser: Array) -> float:
    """In double precision, of either's numbers, frequency by frequency."""
    total = 0.0
    for place in range(spectra.shape[1]):
        model = np.einsum("skn,sk,sm->mn", activations, bases[:, place], gains, optimize=True) + 1e-10
        powers = np.abs(diagonaliser[place] @ spectra[:, place]) ** 2
        total -= float((powers / model + np.log(model)).sum())
    return total + 2 * spectra.shape[2] * float(np.linalg.slogdet(diagonaliser)[1].sum())


def measure_memory(minutes: float) -> int:
    rng = np.random.default_rng(0)
    room = simulate_quintet(RT60_SECONDS[0], 20.0, SAMPLE_RATE, seed=0)
    with tempfile.TemporaryDirectory(prefix="divisi-memory-") as folder:
        path = Path(folder) / "recording.wav"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, len(room.mixture), subtype="PCM_24") as file:
            for _ in range(round(minutes * 3)):
                file.write(room.mixture.T * rng.uniform(0.5, 1))
        separator = open_separator()
        before = peak_bytes()
        options = SeparationOptions(fit=FitRequest(num_iterations=6))
        delivery = separate_file(path, Path(folder) / "stems", separator, StemFormat.WAV24, options)
        with open_decoder(delivery.files[0].path) as decoder:
            seconds = decoder.facts.duration_seconds
    peak = peak_bytes()
    console.print(
        f"{seconds:.0f} s, {delivery.num_channels} channels: peak {peak / 1e9:.2f} GB, {before / 1e9:.2f} before"
    )
    assert delivery.conservation_dbfs is not None
    return verdict((f"peak {peak / 1e9:.2f} GB, bar {MEMORY_BAR / 1e9:.0f}", peak < MEMORY_BAR))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def spectra_of(samples: Array) -> NDArray[np.complex128]:
    """(C, F, N)."""
    spectra = torch.stft(
        torch.from_numpy(samples).double(),
        FFT_LENGTH,
        FFT_LENGTH // 4,
        window=torch.hann_window(FFT_LENGTH, dtype=torch.float64),
        pad_mode="constant",
        return_complex=True,
    )
    return spectra.numpy()


class _Clock:
    """Processor time since it was made, without the pauses."""

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self._now = now
        self._began = now()

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = self._now()
        try:
            yield
        finally:
            self._began += self._now() - began

    def seconds(self) -> float:
        return self._now() - self._began


def dbfs(amplitude: float) -> float:
    return 20 * float(np.log10(max(amplitude, 1e-20)))


def verdict(*bars: tuple[str, bool]) -> int:
    for text, is_met in bars:
        console.print(f"{text}: {'met' if is_met else 'MISSED'}")
    return 0 if all(is_met for _, is_met in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
