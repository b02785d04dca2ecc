"""Speed on a device by batch size, for every engine that runs there, next to one core of the CPU.

    python benchmarks/gpu.py [--device cuda] [--model chorus] [--engines onnx_runtime torch_script] [--largest 64]

For each engine: the real-time factor at every batch size, which one a worker would choose at warm-up, how far estimates
are from those of the CPU, and the same in half precision where the card calls it safe. An engine that cannot run on the
device is named with its reason; when none can, the script exits with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from divisi.contract.errors import ModelError
from divisi.models.bundle import BundleStore, ModelBundle
from divisi.models.engine import Engine, EngineOptions, find_pace, measure_pace, open_engine
from divisi.settings import load_settings

_REPEATS = 3


def batch_sizes(largest: int) -> Iterator[int]:
    size = 1
    while size <= largest:
        yield size
        size *= 2


def best_factor(engine: Engine, bundle: ModelBundle, batch_size: int) -> float | None:
    """The best real-time factor of some runs; None when the device has no memory for the batch."""
    try:
        return min(measure_pace(engine, bundle.card, batch_size).real_time_factor for _ in range(_REPEATS))
    except ModelError as error:
        if error.code != "engine-failed":
            raise
        return None


def one_segment(bundle: ModelBundle) -> np.ndarray:
    card = bundle.card
    length = 4 * card.sample_rate if card.segment_length == "whole" else card.segment_length
    length -= length % card.length_multiple
    num_channels = 1 if card.num_channels == "any" else card.num_channels
    return np.float32(0.1) * np.random.default_rng(1).standard_normal((1, num_channels, length), np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    settings = load_settings()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default=settings.default_model)
    parser.add_argument("--engines", nargs="+", default=["onnx_runtime", "torch_script"])
    parser.add_argument("--largest", type=int, default=64)
    arguments = parser.parse_args()
    bundle = BundleStore(settings.model_store).get(arguments.model)
    console = Console()
    mixture = one_segment(bundle)
    num_measured = 0
    for name in arguments.engines:
        for is_half in (False, True) if bundle.card.half_precision_safe else (False,):
            try:
                on_device = open_engine(name, bundle, EngineOptions(arguments.device, half_precision=is_half))
            except ModelError as error:
                console.print(f"{name}: not measured: {error.message}")
                continue
            on_cpu = open_engine(name, bundle, EngineOptions())
            difference = np.max(np.abs(on_device.run(mixture)["estimates"] - on_cpu.run(mixture)["estimates"]))
            cpu_factor = best_factor(on_cpu, bundle, 1)
            assert cpu_factor is not None
            precision = "half" if is_half else "single"
            where = f"{name} on {on_device.device} ({on_device.provider}), {precision} precision"
            table = Table(title=f"{bundle.card.id} {bundle.card.version}, {where}")
            for heading in ("segments at a time", "real-time factor", "× one CPU core"):
                table.add_column(heading, justify="right")
            for size in batch_sizes(arguments.largest):
                factor = best_factor(on_device, bundle, size)
                if factor is None:
                    table.add_row(str(size), "out of memory", "")
                    break
                table.add_row(str(size), f"{factor:.5f}", f"{cpu_factor / factor:.1f}")
            console.print(table)
            chosen = find_pace(on_device, bundle.card)
            console.print(f"chosen at warm-up: {chosen.batch_size}; largest difference from the CPU {difference:.1e}")
            num_measured += 1
            on_device.close()
            on_cpu.close()
    return 0 if num_measured else 1


if __name__ == "__main__":
    sys.exit(main())
