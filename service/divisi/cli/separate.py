"""`divisi separate`: recordings into stems, in this process or through a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from divisi.cli.recordings import check_readable, distinct, find_recordings
from divisi.cli.request import request_from, with_request_options
from divisi.cli.separation_run import Outcome, Run
from divisi.cli.terminal import EXIT_BAD_INPUT, exit_on_error, progress_bar
from divisi.contract.errors import InputError


@with_request_options
def separate(
    files: Annotated[list[Path], typer.Argument(help="Recordings, wav, flac, ogg, mp3, m4a …; or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stems.")] = Path("stems"),
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Do again what is done; also in place of another recording's stems.")
    ] = False,
    server: Annotated[str | None, typer.Option(help="Address of a divisi server; default: this machine.")] = None,
    together: Annotated[
        bool, typer.Option("--together", help="The FILES are one recording: mono, a microphone each, in this order.")
    ] = False,
    **asked: Any,
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
        request = request_from(asked)
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
