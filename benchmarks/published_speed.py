"""How much faster the served configurations are than the published ones, timed in the same run on one thread.

    python benchmarks/published_speed.py [--runs 3]

Whole paths, mixture in, estimates out, for one segment of 4 s. Published configurations run as modules, served ones as
the ONNX graphs that workers run. Weights are random: they do not change the work.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from divisi.networks import umss, unet

SECONDS = 4.096
NUM_SAMPLES = 65_536
SYSTEMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "joint (va-nn*, warmup)": (
        lambda: umss.Umss(umss.published_joint()),
        lambda: umss.Umss(umss.served()),
    ),
    "umss": (
        lambda: umss.Umss(umss.published_umss()),
        lambda: umss.Umss(umss.served(umss.Assignment.HEURISTIC)),
    ),
    "umss, 2 voices": (
        lambda: umss.Umss(umss.published_umss(2)),
        lambda: umss.Umss(umss.served(umss.Assignment.HEURISTIC, 2)),
    ),
    "unet original": (
        lambda: unet.UnetSeparator(unet.published()),
        lambda: unet.UnetSeparator(unet.served()),
    ),
    "unet efficient": (
        lambda: unet.UnetSeparator(unet.published(unet.Condition.EFFICIENT)),
        lambda: unet.UnetSeparator(unet.served(unet.Condition.EFFICIENT)),
    ),
}


def as_graph(network: nn.Module, folder: Path) -> Callable[[np.ndarray], object]:
    """The network through ONNX Runtime on one thread."""
    path = folder / "model.onnx"
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter announces its own retirement
        # Of another batch and length than what is timed, as in `export`: what tracing freezes must not fit by chance.
        example = torch.zeros(2, 1, NUM_SAMPLES // 4)
        outputs = ["estimates", "f0", "resynthesis"][: len(network(example))]
        axes = {"mixture": {0: "B", 2: "T"}, "estimates": {0: "B", 3: "T"}, "f0": {0: "B", 2: "N"}}
        axes["resynthesis"] = {0: "B", 2: "T"}
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["mixture"],
            output_names=outputs,
            dynamic_axes={name: axes[name] for name in ("mixture", *outputs)},
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda mixture: session.run(None, {"mixture": mixture})


def as_module(network: nn.Module) -> Callable[[np.ndarray], object]:
    def run(mixture: np.ndarray) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(mixture))

    return run


def best_seconds(run: Callable[[np.ndarray], object], runs: int) -> float:
    """CPU seconds of the fastest run: other work on the machine does not count."""
    mixture = 0.1 * np.random.default_rng(1).standard_normal((1, 1, NUM_SAMPLES), np.float32)
    run(mixture)
    taken = []
    for _ in range(runs):
        began = time.process_time()
        run(mixture)
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="Real-time factor on one thread, whole path (CPU time)")
    for heading in ("system", "as published", "as served", "times faster"):
        table.add_column(heading, justify="right")
    for name in arguments.systems:
        make_published, make_served = SYSTEMS[name]
        torch.manual_seed(0)
        published = best_seconds(as_module(make_published().eval()), arguments.runs) / SECONDS
        with tempfile.TemporaryDirectory() as folder:
            served = best_seconds(as_graph(make_served().eval(), Path(folder)), arguments.runs) / SECONDS
        table.add_row(name, f"{published:.3f}", f"{served:.3f}", f"{published / served:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
