"""Commands of the workshop: train a network, export it as a bundle, evaluate bundles.

The `divisi` command finds them. Where the distribution is not installed: `python -m divisi_workshop.commands archive`.
"""

from pathlib import Path
from typing import Annotated

import typer

from divisi.cli.terminal import exit_on_error, progress_bar, say, show_table
from divisi.settings import settings_with
from divisi.telemetry import configure_logging


def train(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or a YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets, such as `nino_dios/`.")],
    cache: Annotated[Path, typer.Option(help="Folder for pitch labels and re-sung choirs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of this run: configuration, log, checkpoint.")],
    start_from: Annotated[list[Path] | None, typer.Option(help="Checkpoint whose weights to take over.")] = None,
) -> None:
    """Train a network; a run that was stopped goes on where it stopped. docs/training.md gives the whole chain."""
    import torch

    from divisi_workshop.config import parse, read_values
    from divisi_workshop.learning.train import TrainConfig
    from divisi_workshop.learning.train import train as run_training
    from divisi_workshop.published.config import parse_system
    from divisi_workshop.published.train import train_system

    configure_logging("info", "auto", process="train")
    torch.set_num_threads(1)  # two runs of one thread beat one run of two
    with exit_on_error():
        values = read_values(config)
        scores = (
            train_system(parse_system(values), data, cache, out, start_from or [])
            if "system" in values
            else run_training(parse(TrainConfig, values), data, cache, out, start_from or [])
        )
    say(str(scores))


def export(
    network: Annotated[str, typer.Argument(help="Factory of the network, `module:function`.")],
    checkpoint: Annotated[Path, typer.Argument(help="`checkpoint.pt` of a training run.")],
    card: Annotated[Path, typer.Option(help="Draft of the model card, YAML.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model store.")] = Path("model_store"),
    measured: Annotated[
        Path | None, typer.Option(help="evaluation.json of an earlier export of these weights, for the card.")
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the end of MODEL_CARD.md.")] = None,
    archives: Annotated[Path | None, typer.Option(help="Folder for an archive that TorchServe serves.")] = None,
) -> None:
    """Export a trained network as a bundle: ONNX, TorchScript, card, checksums.

    Nothing is published unless both artifacts agree with the network.
    """
    from divisi_workshop.export.export import export_from_checkpoint
    from divisi_workshop.export.torch_serve_archive import write_archive

    with exit_on_error():
        text = notes.read_text(encoding="utf-8") if notes else ""
        bundle = export_from_checkpoint(network, checkpoint, card, out, measured=measured, notes=text)
        say(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")
        if archives is not None:
            say(str(write_archive(bundle, archives)))


def export_fitted(
    card: Annotated[Path, typer.Argument(help="Draft of the model card, YAML, with a section `fitting`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model store.")] = Path("model_store"),
    notes: Annotated[Path | None, typer.Option(help="Markdown for the end of MODEL_CARD.md.")] = None,
) -> None:
    """Export a model that is fitted to each recording as a bundle: its steps as TorchScript, card, checksums."""
    from divisi.contract.card import CardDraft
    from divisi.models.bundle import read_card
    from divisi_workshop.export.export import ExportOptions, git_commit
    from divisi_workshop.export.export import export_fitted as publish

    with exit_on_error():
        text = notes.read_text(encoding="utf-8") if notes else ""
        bundle = publish(read_card(card, CardDraft), out, ExportOptions(text, git_commit()))
        say(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")


def archive(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the archives.")],
    models: Annotated[str | None, typer.Option(help="Model ids, comma-separated; default: the service's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that hold a model.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of one of them.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Requests that TorchServe may join; on a CPU 1 is best.")] = 1,
    batch_delay_ms: Annotated[int, typer.Option(help="How long it waits for them; a lone one waits too.")] = 5,
) -> None:
    """Make archives (.mar) of published models for TorchServe."""
    from divisi.models.bundle import BundleStore
    from divisi_workshop.export.torch_serve_archive import ArchiveOptions, write_archive

    with exit_on_error():
        settings = settings_with()
        store = BundleStore(settings.model_store)
        options = ArchiveOptions(workers, threads, batch_size, batch_delay_ms)
        for name in (models or settings.default_model).split(","):
            say(str(write_archive(store.get(name.strip()), out, options)))


def evaluate(
    models: Annotated[str | None, typer.Option(help="Model ids, comma-separated; default: the service's.")] = None,
    dataset: Annotated[
        str, typer.Option(help="sample (comes with the package), nino_dios or nino_dios_pairs.")
    ] = "sample",
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data sets, such as `nino_dios/`.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Separate the recording in one go, not excerpt by excerpt.")
    ] = False,
    voices: Annotated[
        str | None, typer.Option(help="Who the models are told sings, comma-separated, or `auto`; default nothing.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for evaluation.json, scores.csv and boxes.svg.")
    ] = None,
) -> None:
    """Score models: SI-SDR of every voice, next to the mixture and the oracle ratio mask.

    Models run as in the service. Without options the service's model is scored on the sample chorale.

        divisi evaluate --models chorus --dataset nino_dios --data DIR --out figures
    """
    from divisi.models.bundle import BundleStore
    from divisi.models.engine import EngineOptions, batch_size_for, open_engine
    from divisi.models.plan import parse_voices
    from divisi.separation.separator import Separator
    from divisi_workshop.evaluation.datasets import load_dataset
    from divisi_workshop.evaluation.evaluate import evaluate as run_evaluation
    from divisi_workshop.evaluation.report import make_table, save

    with exit_on_error():
        settings = settings_with()
        recording = load_dataset(dataset, data)
        store = BundleStore(settings.model_store)
        names = [name.strip() for name in (models or settings.default_model).split(",") if name.strip()]
        separators = []
        for bundle in [store.get(name) for name in names]:
            engine = open_engine(settings.engine, bundle, EngineOptions.of(settings))
            separators.append(Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size)))
        with progress_bar() as progress:
            task = progress.add_task(", ".join(names), total=1.0)
            evaluation = run_evaluation(
                separators,
                recording,
                whole=whole,
                voices=parse_voices([name.strip() for name in (voices or "").split(",") if name.strip()]),
                on_progress=lambda done: progress.update(task, completed=done),
            )
        if out is not None:
            save(evaluation, out)
            # Not beforehand: a machine that only serves has no plotting library.
            from divisi_workshop.evaluation.report import plot_boxes

            plot_boxes(evaluation, out)
    show_table(make_table(evaluation))


if __name__ == "__main__":
    app = typer.Typer(no_args_is_help=True)
    for command in (train, export, export_fitted, archive, evaluate):
        app.command()(command)
    app()
