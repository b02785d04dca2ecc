"""The models of this machine: separation in this process, what there is to separate with, and `divisi models pull`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from divisi.cli.out_folder import OutFolder, SeparateOne
from divisi.cli.request import CommandRequest
from divisi.cli.server import models
from divisi.cli.terminal import exit_on_error, printable, progress_bar, report_stems, say
from divisi.settings import settings_with


def local_separation(request: CommandRequest) -> SeparateOne:
    """Separation in this process; the model is opened once for all recordings."""
    from divisi.audio.decode import as_one_recording
    from divisi.delivery.deliver import Recording, separate_file
    from divisi.models.bundle import BundleStore
    from divisi.models.engine import EngineOptions, batch_size_for, open_engine, open_fitter
    from divisi.models.plan import FitRequest, check_voices, fit_request_of, fitting_of, parse_voices
    from divisi.separation.fitted_separator import AnySeparator, FittedSeparator
    from divisi.separation.separator import SeparationOptions, Separator

    settings = settings_with()
    bundle = BundleStore(settings.model_store).get(request.model_id or settings.default_model)
    fit = fit_request_of(request)
    options = SeparationOptions(
        stems=request.stems or None,
        **request.delivery_options(),
        include_pitch=request.include_pitch,
        include_resynthesis=request.include_resynthesis,
        include_report=request.include_plot,
        voices=check_voices(parse_voices(request.voices), bundle.card),
        fit=fit,
    )
    separator: AnySeparator
    if bundle.card.fitting:
        separator = FittedSeparator(open_fitter(bundle, EngineOptions.of(settings)), bundle.card, settings.work_dir)
    else:
        if fit != FitRequest():
            fitting_of(bundle.card)
        options.indices(bundle.card.stems)
        engine = open_engine(settings.engine, bundle, EngineOptions.of(settings))
        separator = Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size))

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> None:
        title = printable(paths[0].name)
        with as_one_recording(paths) as path:
            delivery = separate_file(Recording(path, title), out, separator, request.encoding, options, on_progress)
        heard = delivery.voices if delivery.are_voices_detected else ()
        report_stems(paths[0], heard, [warning.message for warning in delivery.warnings])

    return separate_one


def local_models() -> list[dict[str, Any]]:
    """The cards of the models here, as a server shows them."""
    from divisi.models.bundle import BundleStore
    from divisi.models.engine import can_fit

    cards = BundleStore(settings_with().model_store).list()
    return [card.model_dump(mode="json") | {"is_offered": can_fit() or card.fitting is None} for card in cards]


@models.command()
def pull(
    url: Annotated[str, typer.Argument(help="Address of a bundle's folder: `…/<model>/<version>`.")],
    store: Annotated[
        Path | None, typer.Option(help="Model store to put it into; default: DIVISI_MODEL_STORE, ./model_store.")
    ] = None,
) -> None:
    """Fetch a model from a server that holds it, checked file by file.

        divisi models pull https://models.example/model_store/umss-satb/1.2.0

    Fetch from those you trust: a model is a program that will run here.
    """
    from divisi.models.pull import pull_bundle

    with exit_on_error(), progress_bar() as progress:
        task = progress.add_task(printable(url), total=None)
        bundle = pull_bundle(url, store or settings_with().model_store, lambda n: progress.advance(task, n))
    say(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")
