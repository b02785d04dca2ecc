"""What narrower networks cost: runs that differ in width alone, scored side by side on the singer nobody learned from.

    python benchmarks/published_width.py --data DIR --cache DIR RUN [RUN …] [--multi-f0 RUN …] [--published-f0]

Each RUN is a folder of `divisi train`. Scores are SI-SDR of 1 s frames on Niño Dios, singer 4, as training logs them.
`--multi-f0` adds a row for each run: the same separator with the multi-F0 network of another run; `--published-f0` one
with the published network, published size and published weights (DIR/pretrained_f0). `benchmarks/widths/` has runs to
compare.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from divisi_workshop.choirs.takes import VOICES
from divisi_workshop.config import plain
from divisi_workshop.published import umss, unet
from divisi_workshop.published.checkpoints import load_multi_f0, with_multi_f0
from divisi_workshop.published.config import SystemConfig, parse_system
from divisi_workshop.published.hcqt import HcqtConfig
from divisi_workshop.published.multi_f0 import MultiF0Config
from divisi_workshop.published.train import SystemScores, load_choirs, validate_system


def load(run: Path, multi_f0: Path | None = None, published_f0: Path | None = None) -> tuple[SystemConfig, Any]:
    """A run's configuration and averaged network, with the multi-F0 network of another run or the published one."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    if multi_f0 is not None:
        state = with_multi_f0(state, torch.load(multi_f0 / "checkpoint.pt", weights_only=True))
    config = parse_system(state["config"])
    weights, values = state["average"], dict(state["config"]["network"])
    if published_f0 is not None:
        reader = dict(values["pitch"]) if isinstance(config.network, unet.UnetConfig) else values
        reader["multi_f0"] = plain(MultiF0Config(HcqtConfig()))
        values = {**values, "pitch": reader} if isinstance(config.network, unet.UnetConfig) else reader
        weights = {name: value for name, value in weights.items() if not name.startswith("pitch.multi_f0.")}
    network: Any = (unet if isinstance(config.network, unet.UnetConfig) else umss).build(values)
    network.load_state_dict(weights, strict=published_f0 is None)
    if published_f0 is not None:
        load_multi_f0(network.pitch.multi_f0, published_f0)
    return config, network.eval()


def count(module: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}".replace(",", " ")


def row(name: str, network: Any, scores: SystemScores) -> list[str]:
    separator = network.unet if hasattr(network, "unet") else network.separator
    values = (*scores.per_voice_db, scores.si_sdr_db, scores.median_db)
    accuracy = f"{100 * scores.voice_accuracy:.1f} %"
    return [name, count(separator), count(network.pitch), accuracy, *(f"{value:.2f}" for value in values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--multi-f0", type=Path, action="append", default=[])
    parser.add_argument("--published-f0", action="store_true")
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="SI-SDR in dB on singer 4, 1 s frames")
    for heading in ("run", "separator", "F0 networks", "right pitches", *VOICES, "mean", "median"):
        table.add_column(heading, justify="right")
    for run in arguments.runs:
        rows: list[tuple[str, dict[str, Path]]] = [("", {})]
        rows += [(f", {other.name}", {"multi_f0": other}) for other in arguments.multi_f0]
        if arguments.published_f0:
            rows.append((", published F0", {"published_f0": arguments.data / "pretrained_f0" / "late_deep.npz"}))
        for name, instead in rows:
            config, network = load(run, **instead)
            _, held = load_choirs(config, arguments.data, arguments.cache)
            table.add_row(*row(run.name + name, network, validate_system(network, held, config)))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
