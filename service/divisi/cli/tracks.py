"""`divisi tracks`: learning tracks of a recording, of a folder of stems, or of a server's job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from divisi.cli.request import request_from, with_options
from divisi.cli.server import DEFAULT_SERVER, ID_LENGTH, connect
from divisi.cli.terminal import exit_on_error, of_this_machine, printable, progress_bar, say
from divisi.contract.tracks import TrackSetOptions


@with_options(TrackSetOptions)
def tracks(
    source: Annotated[Path, typer.Argument(help="A recording, a folder of stems, or the id of a server's job.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tracks.")] = Path("tracks"),
    *,
    server: Annotated[str, typer.Option(help="Address of the server that has the job.")] = DEFAULT_SERVER,
    **asked: Any,
) -> None:
    """Make learning tracks: each part in front, left out, alone left, alone right; and all parts together.

    A recording is separated here first. No file is replaced.

        divisi tracks choir.wav -o for-the-choir
        divisi tracks stems --parts alto --speed 80 --semitones -2
        divisi tracks 01k8y3p8m4v5w6x7y8z9a0b1c2 --server https://divisi.example --choir "St. Cecilia"
    """
    with exit_on_error():
        options = request_from(asked, TrackSetOptions)
        is_job = re.fullmatch(f"[0-9a-z]{{{ID_LENGTH}}}", str(source)) and not source.exists()
        with progress_bar() as progress:
            task = progress.add_task(printable(source.name), total=1.0)

            def show(done: float) -> None:
                progress.update(task, completed=done)

            if is_job:
                with connect(server) as client:
                    given = options.model_dump(mode="json", exclude_defaults=True)
                    made = client.tracks(client.get(str(source)), out, on_progress=show, **given)
            else:
                made = of_this_machine("tracks").local_tracks(source, out, options, show)
        say(f"{len(made)} tracks in {printable(out)}")
