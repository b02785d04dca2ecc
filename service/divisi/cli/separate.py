"""`divisi separate`: recordings into stems, in this process or through a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from divisi.bundles.fit_plan import FitRequest, parse_spots
from divisi.cli.recordings import check_readable, distinct, find_recordings
from divisi.cli.separation_run import Outcome, OutputFormat, Request, Run
from divisi.cli.terminal import EXIT_BAD_INPUT, exit_on_error, progress_bar
from divisi.errors import InputError


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
    again: Annotated[
        bool, typer.Option("--again", help="Do again what is done; also in place of another recording's stems.")
    ] = False,
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
    their content; what is wrong with one is reported at the end, and the others are done all the same. No file is
    replaced but what an earlier run made of the same recording and nobody has changed.

        divisi separate choir.wav -o stems
        divisi separate duet.wav -o stems --voices soprano,alto --pitch
        divisi separate rehearsals/ -o stems --plot
        divisi separate *.flac -o stems --format flac --server http://127.0.0.1:8000
        divisi separate 1.wav 2.wav 3.wav --together -m fastmnmf2 --spots violin:1,piano:2 -o stems
    """
    from divisi.cli.local_separation import local_separation
    from divisi.cli.remote_separation import remote_separation

    with exit_on_error():
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
        is_one = together or (len(files) == 1 and not os.path.isdir(files[0]))
        found = find_recordings(files)
        if is_one and found.problems:
            raise InputError(found.problems[0], code="no-such-file")
        if is_one:
            for path in found.recordings:
                check_readable(path)
        separate_one = local_separation(request) if server is None else remote_separation(server, request, again=again)
        outcome = Outcome(found.problems)
        try:
            with progress_bar() as progress:
                run = Run(out, request, separate_one, progress, again=again)
                if is_one:
                    run.separate_one(found.recordings, outcome)
                else:
                    run.separate_all(distinct(found.recordings), outcome)
        finally:
            outcome.report()
    if not outcome.is_complete:
        raise typer.Exit(EXIT_BAD_INPUT)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
