"""How much faster the served bundles are than the published configurations, timed in the same run on one thread.

    python benchmarks/published_speed.py [--runs 3] [--models umss-satb ...] [--out speeds.json]

Whole paths, mixture in, estimates out, for one segment of 4 s: published configurations run as modules with random
weights, which do not change the work; bundles run through the Separator, as in workers. CPU time is what counts, so
that other work on the machine hardly matters.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from divisi.models.bundle import BundleStore, ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import default_model_store
from divisi_workshop.published import umss, unet

SAMPLE_RATE = 16_000
NUM_SAMPLES = 65_536
SECONDS = NUM_SAMPLES / SAMPLE_RATE
MACHINE = "x86-64 virtual machine, one of two busy cores; 4 s at 16 kHz, CPU time"
PUBLISHED: dict[str, Callable[[], nn.Module]] = {
    "joint": lambda: umss.Umss(umss.published_joint()),
    "umss": lambda: umss.Umss(umss.published_umss()),
    "umss, 2 voices": lambda: umss.Umss(umss.published_umss(2)),
    "unet original": lambda: unet.UnetSeparator(unet.published()),
    "unet efficient": lambda: unet.UnetSeparator(unet.published(unet.Condition.EFFICIENT)),
    "unet efficient, 2 voices": lambda: unet.UnetSeparator(
        replace(unet.published(unet.Condition.EFFICIENT), pitch=umss.published_umss(2))
    ),
}
SERVED = {
    "chorus": "joint",
    "umss-satb": "umss",
    "umss-1s": "umss",
    "umss-duo": "umss, 2 voices",
    "umss-1s-duo": "umss, 2 voices",
    "va-nn": "joint",
    "va-nn-0": "joint",
    "va-nn-1": "joint",
    "warmup": "joint",
    "unet-satb": "unet original",
    "unet-satb-efficient": "unet efficient",
    "unet-duo": "unet efficient, 2 voices",
}


def as_served(bundle: ModelBundle) -> Callable[[np.ndarray], object]:
    """The bundle through ONNX Runtime and the Separator, on one thread."""
    separator = Separator(open_engine("onnx_runtime", bundle, EngineOptions(num_threads=1)), bundle.card)
    return lambda mixture: list(separator.separate([mixture[0]], SAMPLE_RATE, 1, NUM_SAMPLES))


def as_module(network: nn.Module) -> Callable[[np.ndarray], object]:
    def run(mixture: np.ndarray) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(mixture))

    return run


def real_time_factor(run: Callable[[np.ndarray], object], runs: int) -> float:
    """CPU seconds a second of audio, of the fastest run: other work on the machine does not count."""
    mixture = 0.1 * np.random.default_rng(1).standard_normal((1, 1, NUM_SAMPLES), np.float32)
    run(mixture)
    taken = []
    for _ in range(runs):
        began = time.process_time()
        run(mixture)
        taken.append(time.process_time() - began)
    return min(taken) / SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(SERVED), choices=list(SERVED))
    parser.add_argument("--store", type=Path, default=default_model_store())
    parser.add_argument("--out", type=Path, help="JSON of entries for the cards' `speed`")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="Real-time factor on one thread, whole path (CPU time)")
    for heading in ("bundle", "published configuration", "as published", "as served", "times faster"):
        table.add_column(heading, justify="right")
    store, published, speeds = BundleStore(arguments.store), {}, {}
    for model_id in arguments.models:
        name = SERVED[model_id]
        if name not in published:
            torch.manual_seed(0)
            published[name] = real_time_factor(as_module(PUBLISHED[name]().eval()), arguments.runs)
        served = real_time_factor(as_served(store.get(model_id)), arguments.runs)
        table.add_row(model_id, name, f"{published[name]:.3f}", f"{served:.3f}", f"{published[name] / served:.1f}")
        speeds[model_id] = {
            "real_time_factor": round(served, 4),
            "machine": MACHINE,
            "engine": "ONNX Runtime",
            "num_threads": 1,
        }
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(speeds, indent=2))
    Console().print(table)


if __name__ == "__main__":
    main()
