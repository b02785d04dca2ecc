"""`divisi separate`: recordings into stems, in this process or through a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from divisi.bundles.fit_plan import FitRequest, parse_spots
from divisi.cli.batches import FAULTS_OF_A_RECORDING, digest_of, is_done, mark_done, recordings_in
from divisi.cli.terminal import console, exit_on_error, progress_bar, settings_with
from divisi.errors import InputError

SeparateOne = Callable[[tuple[Path, ...], Path, Callable[[float], None]], None]
"""Separates one recording, in one file or in several, into a folder, calling back with its progress 0..1."""


class OutputFormat(StrEnum):
    """Formats that `divisi separate` writes."""

    WAV = "wav"
    FLAC = "flac"
    WAV16 = "wav16"
    WAV24 = "wav24"
    WAV32F = "wav32f"
    OGG = "ogg"
    MP3 = "mp3"


@dataclass(frozen=True)
class Request:
    """What is asked of each recording; empty `stems` and `voices` mean all."""

    model: str | None = None
    stem_format: OutputFormat = OutputFormat.WAV
    stems: tuple[str, ...] = ()
    include_residual: bool = False
    include_pitch: bool = False
    include_resynthesis: bool = False
    voices: tuple[str, ...] = ()
    fit: FitRequest | None = None
    include_plot: bool = False


def separate(
    files: Annotated[list[Path], typer.Argument(help="Recordings, wav, flac, ogg, mp3, m4a …; or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stems.")] = Path("stems"),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model id; see `divisi models`.")] = None,
    stem_format: Annotated[
        OutputFormat, typer.Option("--format", "-f", help="wav is 24 bit; float for recordings beyond full scale.")
    ] = OutputFormat.WAV,
    stems: Annotated[str | None, typer.Option(help="Only these stems, comma-separated; default all.")] = None,
    voices: Annotated[
        str | None, typer.Option(help="Who sings, comma-separated, or `auto`; default all. Others come out silent.")
    ] = None,
    residual: Annotated[bool, typer.Option("--residual", help="Also write what is left of the mixture.")] = False,
    pitch: Annotated[
        bool, typer.Option("--pitch", help="Also write pitch.json, pitch.csv and notes.mid, if the model has pitch.")
    ] = False,
    resynthesis: Annotated[
        bool, typer.Option("--resynthesis", help="Also write the mixture as the model sings it again, if it can.")
    ] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also write report.png: spectrograms, pitch, levels, confidence.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Do again what an earlier run has done.")] = False,
    server: Annotated[str | None, typer.Option(help="Address of a divisi server; default: this machine.")] = None,
    together: Annotated[
        bool, typer.Option("--together", help="The FILES are one recording: mono, a microphone each, in this order.")
    ] = False,
    spots: Annotated[
        str | None, typer.Option(help="Fitted models: whose spot microphone is which channel, as flute:1,cello:2.")
    ] = None,
    sources: Annotated[int | None, typer.Option(help="Fitted models: sources.")] = None,
    bases: Annotated[int | None, typer.Option(help="Fitted models: spectral patterns of each source.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Fitted models: iterations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fitted models: seed of what is drawn.")] = None,
) -> None:
    """Separate recordings into stems.

    One FILE is written as `OUT/<stem>.<format>`; of several, each gets a folder `OUT/<file name>/`. Stems have the
    sample rate, channels and length of their recording. Folders are searched at any depth, for all but the stems of
    earlier runs. Of several recordings those are skipped that an earlier run with the same options has done, known by
    their content; one that cannot be read is told of, and the others are done all the same.

        divisi separate choir.wav -o stems
        divisi separate duet.wav -o stems --voices soprano,alto --pitch
        divisi separate rehearsals/ -o stems --plot
        divisi separate *.flac -o stems --format flac --server http://127.0.0.1:8000
        divisi separate 1.wav 2.wav 3.wav --together -m fastmnmf2 --spots violin:1,piano:2 -o stems
    """
    from divisi.cli.remote_separation import remote_separation

    is_batch = not together and (len(files) > 1 or any(path.is_dir() for path in files))
    files = recordings_in(files)
    recordings = [tuple(files)] if together else [(path,) for path in files]
    folders = [out] if together else output_folders(files, out, is_batch=is_batch)
    num_skipped = 0
    done: list[Path] = []
    refused: list[str] = []
    with exit_on_error(), progress_bar() as progress:
        for path in files:
            if not path.is_file():
                raise InputError(f"{path} is not a file", code="no-such-file")
        fit = FitRequest(sources, bases, iterations, seed=seed, spots=parse_spots(_names(spots)))
        request = Request(
            model,
            stem_format,
            _names(stems),
            residual,
            pitch,
            resynthesis,
            _names(voices),
            fit if fit.to_dict() else None,
            plot,
        )
        separate_one = local_separation(request) if server is None else remote_separation(server, request)
        for paths, folder in zip(recordings, folders, strict=True):
            task = progress.add_task(paths[0].name, total=1.0)
            digest = digest_of(paths, request) if is_batch else ""
            if is_batch and not again and is_done(folder, digest):
                num_skipped += 1
            else:
                try:
                    separate_one(paths, folder, partial(_show, progress, task))
                except InputError as error:
                    if not is_batch or error.code not in FAULTS_OF_A_RECORDING:
                        raise
                    refused.append(f"{paths[0]}: {error.message}")
                    continue
                if is_batch:
                    mark_done(folder, digest, files)
            done.append(folder)
            progress.update(task, completed=1.0)
    for folder in done:
        console.print(f"stems in {folder}")
    if num_skipped:
        console.print(f"{num_skipped} of {len(folders)} were done before; --again does them again")
    if refused:
        with exit_on_error():
            raise InputError(f"{len(refused)} of {len(folders)} could not be read\n" + "\n".join(refused))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _show(progress: Progress, task: TaskID, done: float) -> None:
    progress.update(task, completed=done)


def output_folders(files: list[Path], out: Path, *, is_batch: bool = False) -> list[Path]:
    """Where the stems of each file go: `out` itself for one file, a folder per file name for several or a batch."""
    if len(files) == 1 and not is_batch:
        return [out]
    # The shortest kind of name that tells all of them apart.
    for names in ([path.stem for path in files], [path.name for path in files]):
        if len(set(names)) == len(names):
            return [out / name for name in names]
    return [out / f"{path.parent.name}-{path.name}-{place}" for place, path in enumerate(files, start=1)]


def local_separation(request: Request) -> SeparateOne:
    """Separation in this process; the model is opened once for all recordings."""
    from divisi.audio.encode import parse_stem_format
    from divisi.audio.stacked_files import as_one_recording
    from divisi.bundles.fit_plan import fitting_of
    from divisi.bundles.roster import check_voices, parse_voices
    from divisi.bundles.store import BundleStore
    from divisi.engines.engine import EngineOptions, open_engine, open_fitter
    from divisi.engines.pace import batch_size_for
    from divisi.separation.deliver import AnySeparator, separate_file
    from divisi.separation.fitted_separator import FittedSeparator
    from divisi.separation.options import SeparationOptions
    from divisi.separation.separator import Separator
    from divisi.separation.views import REPORT_NAME

    settings = settings_with()
    bundle = BundleStore(settings.model_store).get(request.model or settings.default_model)
    options = SeparationOptions(
        request.stems or None,
        include_residual=request.include_residual,
        include_pitch=request.include_pitch,
        include_resynthesis=request.include_resynthesis,
        include_views=request.include_plot,
        voices=check_voices(parse_voices(request.voices), bundle.card),
        fit=request.fit,
    )
    separator: AnySeparator
    if bundle.card.fitting:
        separator = FittedSeparator(open_fitter(bundle, EngineOptions.of(settings)), bundle.card, settings.work_dir)
    else:
        if request.fit is not None:
            fitting_of(bundle.card)
        options.indices(bundle.card.stems)
        engine = open_engine(settings.engine, bundle, EngineOptions.of(settings))
        separator = Separator(engine, bundle.card, batch_size_for(engine, bundle.card, settings.batch_size))
    stem_format = parse_stem_format(request.stem_format.value)

    def separate_one(paths: tuple[Path, ...], folder: Path, on_progress: Callable[[float], None]) -> None:
        with as_one_recording(paths) as path:
            delivery = separate_file(path, folder, separator, stem_format, options, on_progress, title=paths[0].name)
        # The page's files; a person asked for the picture.
        for view in delivery.views:
            if view.name != REPORT_NAME:
                view.path.unlink()
        report_voices(paths[0], delivery.voices, delivery.are_voices_detected)

    return separate_one


def report_voices(path: Path, voices: Sequence[str], are_detected: bool) -> None:
    """Says whom `--voices auto` heard."""
    if are_detected:
        console.print(f"{path.name}: heard {', '.join(voices)}")
