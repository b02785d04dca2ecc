"""How far a bundle's two graphs are apart on music: ONNX against TorchScript, stretch by stretch.

    python benchmarks/graphs_alike.py --data DATA [--models umss-satb,unet-duo …]

Stretches of 6 s begin every second of the sample chorale and every 2.5 s of Niño Dios, singer 4
(DATA/nino_dios). Largest absolute differences, full scale 1; `pitches` are frames in which F0 differs by over 2 cents.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.settings import default_model_store
from divisi_workshop.evaluation.datasets import load_dataset

LENGTH = 98_304
STEPS = {"sample": 16_000, "nino_dios": 40_000}
PUBLISHED = "umss-satb,umss-1s,umss-duo,umss-1s-duo,va-nn,va-nn-0,va-nn-1,warmup,unet-satb,unet-satb-efficient,unet-duo"
CENTS = 2.0


def stretches(data: Path) -> NDArray[np.float32]:
    """Shape: (K, 1, 1, LENGTH), each recording at peak 1."""
    cut = []
    for name, step in STEPS.items():
        mixture = load_dataset(name, data).mixture
        mixture = mixture / np.abs(mixture).max()
        cut += [mixture[first : first + LENGTH] for first in range(0, len(mixture) - LENGTH + 1, step)]
    return np.stack(cut)[:, None, None].astype(np.float32)


def other_pitches(first_hz: NDArray[np.float32], second_hz: NDArray[np.float32]) -> int:
    cents = 1200 * np.abs(np.log2(np.maximum(first_hz, 1) / np.maximum(second_hz, 1)))
    return int((cents > CENTS).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default=PUBLISHED)
    arguments = parser.parse_args()
    table = Table(title="ONNX against TorchScript")
    for heading in ("model", "stretches", "estimates", "pitches"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    material = stretches(arguments.data)
    for model in arguments.models.split(","):
        bundle = BundleStore(default_model_store()).get(model)
        options = EngineOptions(num_threads=1)
        onnx, script = (open_engine(name, bundle, options) for name in ("onnx_runtime", "torch_script"))
        apart, pitches = 0.0, 0
        for stretch in material:
            first, second = onnx.run(stretch), script.run(stretch)
            apart = max(apart, float(np.abs(first["estimates"] - second["estimates"]).max()))
            pitches += other_pitches(first["f0"], second["f0"])
        table.add_row(model, str(len(material)), f"{apart:.1e}", str(pitches))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
