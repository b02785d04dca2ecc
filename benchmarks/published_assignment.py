"""Who hands out pitches better, heuristic or voice assigner: F0 networks of several runs, before one separator.

    python benchmarks/published_assignment.py --data DIR --choirs CACHE/syn_choose --separator RUN [RUN …]
        [--voiced-from 0.25 0.35]

Each RUN is a folder of `divisi train`; the separator's own pitches are the first row. Scored on other songs (choirs in
the format of `choirs.takes`, of a singer nobody learned from) and on Niño Dios, singer 4: frames in
which the right voice has the right pitch, and SI-SDR of 1 s frames in dB. `--voiced-from`: an assigner's thresholds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from divisi_workshop.choirs.takes import load_resung
from divisi_workshop.published import umss
from divisi_workshop.published.config import SystemConfig, parse_system
from divisi_workshop.published.train import load_choirs, validate_system

EVERYTHING = 1_000_000
READER = ("multi_f0", "assigner", "link", "assignment")
"""What of a network's configuration hands out pitches."""


def read(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    return state


def before(separator: dict[str, Any], reader: dict[str, Any]) -> Any:
    """The network of one run's separator behind another run's F0 networks."""
    values = dict(separator["config"]["network"])
    weights = {name: value for name, value in separator["average"].items() if not name.startswith("pitch.")}
    weights |= {name: value for name, value in reader["average"].items() if name.startswith("pitch.")}
    network = umss.build(values | {name: reader["config"]["network"][name] for name in READER})
    network.load_state_dict(weights)
    return network.eval()


def candidates(separator: dict[str, Any], runs: list[Path], thresholds: list[float]) -> Iterator[tuple[str, Any]]:
    yield "the separator's own", before(separator, separator)
    for run in runs:
        network = before(separator, read(run))
        for threshold in thresholds:
            network.pitch.link.thresholds.fill_(threshold)
            yield f"{run.name}, voiced from {threshold:g}", network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--choirs", type=Path, required=True)
    parser.add_argument("--separator", type=Path, required=True)
    parser.add_argument("--voiced-from", type=float, nargs="+", default=[0.35])
    parser.add_argument("runs", type=Path, nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    separator = read(arguments.separator)
    config: SystemConfig = parse_system(separator["config"])
    choirs = load_resung(arguments.choirs)
    _, song = load_choirs(config, arguments.data, arguments.choirs.parent)
    table = Table(title=f"Pitches before the separator of {arguments.separator.name}")
    for heading in ("who hands out pitches", "other songs, right", "SI-SDR", "Niño Dios, right", "SI-SDR"):
        table.add_column(heading, justify="right")
    for name, network in candidates(separator, arguments.runs, arguments.voiced_from):
        elsewhere = validate_system(network, choirs, replace(config, held_excerpts=EVERYTHING))
        here = validate_system(network, song, config)
        shares = [f"{100 * scores.voice_accuracy:.1f} %" for scores in (elsewhere, here)]
        decibels = [f"{scores.si_sdr_db:.2f}" for scores in (elsewhere, here)]
        table.add_row(name, shares[0], decibels[0], shares[1], decibels[1])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
