"""What TorchServe costs: one segment through TorchServe over HTTP, next to the same artifact in this process.

    python benchmarks/torch_serve.py [--model chorus] [--seconds 4] [--repeats 20]

Starts a TorchServe of its own (needs Java 17 and the packages of service/torchserve/requirements.txt). Runs of the two
take turns, so that other load on the machine meets both; the figures are medians. Exits with 1 when the estimates
differ by more than 1e-6.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from divisi.models.bundle import BundleStore, ModelBundle
from divisi.models.engine import Engine, EngineOptions, ModelServerOptions, open_engine
from divisi.settings import load_settings
from divisi_workshop.export.torch_serve_archive import HANDLER, write_archive

LARGEST_DIFFERENCE = 1e-6
_START_SECONDS = 120.0


@contextmanager
def served(bundle: ModelBundle) -> Iterator[EngineOptions]:
    """Serves one model; gives the options of an engine that uses it."""
    with tempfile.TemporaryDirectory(prefix="divisi-ts-") as name:
        folder = Path(name)
        write_archive(bundle, folder / "archives")
        ports = free_ports(5)
        url, management, metrics = (f"http://127.0.0.1:{port}" for port in ports[:3])
        key_file = folder / "inference_key.json"
        command = [sys.executable, str(HANDLER.with_name("start.py")), "--models", str(folder / "archives")]
        command += ["--work", str(folder / "work"), "--key-file", str(key_file), "--inference", url]
        command += ["--management", management, "--metrics", metrics, "--grpc-ports", f"{ports[3]},{ports[4]}"]
        with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield EngineOptions(model_server=ModelServerOptions(url, key_file, patience_seconds=_START_SECONDS))
            finally:
                process.terminate()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that are free now, all different."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def time_in_turn(engines: dict[str, Engine], mixture: np.ndarray, repeats: int) -> dict[str, float]:
    """Median seconds of each engine."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, engine in engines.items():
            began = time.perf_counter()
            engine.run(mixture)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    settings = load_settings()
    parser.add_argument("--model", default=settings.default_model)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    bundle = BundleStore(settings.model_store).get(arguments.model)
    card = bundle.card
    length = round(arguments.seconds * card.sample_rate / card.length_multiple) * card.length_multiple
    num_channels = 1 if card.num_channels == "any" else card.num_channels
    mixture = np.float32(0.1) * np.random.default_rng(1).standard_normal((1, num_channels, length), np.float32)
    with served(bundle) as options:
        began = time.perf_counter()
        engines = {"TorchServe": open_engine("torch_serve", bundle, options)}
        start_seconds = time.perf_counter() - began
        engines["in this process"] = open_engine("torch_script", bundle, EngineOptions())
        answers = [engine.run(mixture) for engine in engines.values()]
        difference = max(float(np.max(np.abs(answers[0][name] - answers[1][name]))) for name in answers[0])
        time_in_turn(engines, mixture, 3)
        medians = time_in_turn(engines, mixture, arguments.repeats)
        for engine in engines.values():
            engine.close()
    table = Table(title=f"{card.id} {card.version}, one segment of {length / card.sample_rate:.2f} s, one thread")
    for heading in ("TorchScript", "ms a segment", "real-time factor"):
        table.add_column(heading, justify="right")
    for name, seconds in medians.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds * card.sample_rate / length:.4f}")
    console = Console()
    console.print(table)
    overhead = medians["TorchServe"] - medians["in this process"]
    console.print(
        f"overhead {1000 * overhead:.1f} ms a segment, ratio {medians['TorchServe'] / medians['in this process']:.2f}; "
        f"from start to warm {start_seconds:.1f} s; largest difference {difference:.1e}, bar {LARGEST_DIFFERENCE:.0e}"
    )
    return 0 if difference <= LARGEST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
