"""Separation in this process, for `divisi separate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from divisi.cli.out_folder import OutFolder
from divisi.cli.request import CommandRequest
from divisi.cli.separation_run import SeparateOne, report_voices, report_warnings
from divisi.cli.terminal import printable, settings_with


def local_separation(request: CommandRequest) -> SeparateOne:
    """Separation in this process; the model is opened once for all recordings."""
    from divisi.audio.stacked_files import as_one_recording
    from divisi.bundles.fit_plan import FitRequest, fit_request_of, fitting_of
    from divisi.bundles.roster import check_voices, parse_voices
    from divisi.bundles.store import BundleStore
    from divisi.engines.engine import EngineOptions, open_engine, open_fitter
    from divisi.engines.pace import batch_size_for
    from divisi.separation.deliver import AnySeparator, separate_file
    from divisi.separation.fitted_separator import FittedSeparator
    from divisi.separation.options import SeparationOptions
    from divisi.separation.separator import Separator

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
            delivery = separate_file(path, out, separator, request.encoding, options, on_progress, title=title)
        report_voices(paths[0], delivery.voices, delivery.are_voices_detected)
        report_warnings(paths[0], [warning.message for warning in delivery.warnings])

    return separate_one
