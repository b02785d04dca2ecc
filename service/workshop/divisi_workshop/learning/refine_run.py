"""The refiner's training on a borrowed machine: material packed small here, examples made and learned from there.

    python -m divisi_workshop.learning.refine_run pack --data DATA --cache CACHE --chorus RUN/checkpoint.pt --out PACK
    python -m divisi_workshop.learning.refine_run train --pack PACK --out "$OUT" --minutes 10 --device cuda \\
        --processes 14 --batch-size 48

PACK holds recordings, guests, rooms and the earlier stages, as much as fits into the limit. OUT/checkpoint.pt is
written all along and resumes on any device, by the same command or by `refine`. On an accelerator the network runs in
bfloat16, loss and optimiser in single precision.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import torch

from divisi.contract.errors import InputError
from divisi_workshop.choirs.takes import VOICES
from divisi_workshop.learning.refine import RefineConfig, train

logger = logging.getLogger(__name__)

PACK_MIB = 60.0
TRAINED_SINGERS = (1, 2, 3)
ENOUGH_TO_BEGIN = 16
POLL_SECONDS = 0.2


def pack(data: Path, cache: Path, chorus: Path, out: Path, limit_mib: float = PACK_MIB) -> float:
    """Copies what a run needs; returns its size in MiB.

    Recordings and the earlier stages must fit; of guests and rooms, in turn, as many as do.

    Raises:
        InputError: `too-large`.
    """
    needed = [(path, Path("nino_dios") / path.name) for path in sorted((data / "nino_dios").glob("*.flac"))]
    names = {f"{voice}_{singer}" for voice in VOICES for singer in TRAINED_SINGERS}
    needed = [(path, target) for path, target in needed if path.stem in names]
    needed.append((chorus, Path("chorus.pt")))
    size = sum(path.stat().st_size for path, _ in needed)
    if size > limit_mib * 2**20:
        message = f"recordings and checkpoint alone take {size / 2**20:.1f} MiB; the limit is {limit_mib:.1f} MiB"
        raise InputError(message, code="too-large")
    for path, target in needed:
        copy(path, out / target)
    guests = [
        [cache / "guests" / path.name.replace("_bass.", f"_{voice}.") for voice in VOICES]
        for path in sorted((cache / "guests").glob("choir_*_bass.flac"))
    ]
    halls = [[path] for path in sorted((cache / "halls").glob("hall_*.npy"))]
    for group in (group for pair in zip_longest(guests, halls) for group in pair if group):
        grown = size + sum(path.stat().st_size for path in group)
        if grown <= limit_mib * 2**20:
            size = grown
            for path in group:
                copy(path, out / path.parent.name / path.name)
    return size / 2**20


def copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


@contextmanager
def examples_in_the_making(packed: Path, folder: Path, processes: int, count: int, seed: int) -> Iterator[None]:
    """So many processes share the making of `count` examples; they end with the block.

    Raises:
        InputError: `no-examples`; all of them have ended and left too few to begin with.
    """
    share = -(-count // processes)
    makers = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "divisi_workshop.learning.choir_examples", "--data", str(packed)),
                *("--guests", str(packed / "guests"), "--halls", str(packed / "halls")),
                *("--chorus", str(packed / "chorus.pt"), "--out", str(folder), "--seed", str(seed)),
                *("--first", str(number * share), "--count", str(share)),
            ]
        )
        for number in range(processes)
    ]
    try:
        while len(list(folder.glob("example_*.npz"))) < min(ENOUGH_TO_BEGIN, count):
            if all(maker.poll() is not None for maker in makers):
                message = f"no examples could be made from {packed}; see the messages above"
                raise InputError(message, code="no-examples")
            time.sleep(POLL_SECONDS)
        yield
    finally:
        for maker in makers:
            maker.terminate()
            maker.wait()


def run(config: RefineConfig, packed: Path, out: Path, device: torch.device, processes: int, count: int) -> None:
    """Train on a pack for the minutes of `config`, counted over all runs that resumed from OUT."""
    # A run that resumes draws examples of its own.
    seed = time.time_ns() % 2**31
    with (
        tempfile.TemporaryDirectory() as folder,
        examples_in_the_making(packed, Path(folder), processes, count, seed),
    ):
        gains = train(config, packed / "chorus.pt", Path(folder), out, device)
    logger.info("gains in dB: %s", {name: round(gain, 2) for name, gain in gains.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    defaults = RefineConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--data", type=Path, required=True, help="holds nino_dios/")
    packing.add_argument("--cache", type=Path, required=True, help="holds guests/ and halls/")
    packing.add_argument("--chorus", type=Path, required=True, help="checkpoint of the earlier stages")
    packing.add_argument("--out", type=Path, required=True)
    packing.add_argument("--limit-mib", type=float, default=PACK_MIB)
    training = commands.add_parser("train")
    training.add_argument("--pack", type=Path, required=True)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--minutes", type=float, required=True)
    training.add_argument("--most-steps", type=int, default=defaults.most_steps)
    training.add_argument("--device", default="cpu")
    training.add_argument("--processes", type=int, default=1, help="that make examples")
    training.add_argument("--examples", type=int, default=4000)
    training.add_argument("--batch-size", type=int, default=defaults.batch_size)
    training.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.command == "pack":
        size = pack(given.data, given.cache, given.chorus, given.out, given.limit_mib)
        logger.info("%s: %.1f MiB", given.out, size)
    else:
        torch.set_num_threads(1)
        config = RefineConfig(given.minutes, given.most_steps, given.batch_size, learning_rate=given.learning_rate)
        run(config, given.pack, given.out, torch.device(given.device), given.processes, given.examples)


if __name__ == "__main__":
    main()
