"""Commands of the workshop: train a network, export it as a bundle, evaluate bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divisi.cli.terminal import console, exit_on_error


def train(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or a YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, such as `nino_dios/`.")],
    cache: Annotated[Path, typer.Option(help="Folder for pitch labels and re-sung choirs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of this run: configuration, log, checkpoint.")],
    start_from: Annotated[list[Path] | None, typer.Option(help="Checkpoint whose weights to take over.")] = None,
) -> None:
    """Train a network; a run that was stopped goes on where it stopped. docs/training.md gives the whole chain."""
    import torch

    from divisi.training.config import load_config
    from divisi.training.train import train as run_training

    torch.set_num_threads(1)  # two runs of one thread beat one run of two
    with exit_on_error():
        scores = run_training(load_config(config), data, cache, out, start_from or [])
    console.print(scores)


def export(
    network: Annotated[str, typer.Argument(help="Factory of the network, `module:function`.")],
    checkpoint: Annotated[Path, typer.Argument(help="`checkpoint.pt` of a training run.")],
    card: Annotated[Path, typer.Option(help="Draft of the model card, YAML.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model store.")] = Path("model_store"),
    notes: Annotated[Path | None, typer.Option(help="Markdown for the end of MODEL_CARD.md.")] = None,
) -> None:
    """Export a trained network as a bundle: ONNX, TorchScript, card, checksums.

    Nothing is published unless both artifacts agree with the network.
    """
    from divisi.export.command import export_from_checkpoint

    with exit_on_error():
        bundle = export_from_checkpoint(network, checkpoint, card, out, notes)
    console.print(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")
