"""What a choir practises with.

`divisi tracks`: learning tracks of a recording, of a folder of stems, or of a server's job. `divisi rehearsal`: the
passages, the tempo and the count-in that a server keeps with a job.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from pydantic import ValidationError

from divisi.cli.request import request_from, with_options
from divisi.cli.server import DEFAULT_SERVER, ID_LENGTH, Server, connect
from divisi.cli.terminal import Json, exit_on_error, of_this_machine, printable, progress_bar, say, show_json
from divisi.contract import rehearsal as kept
from divisi.contract.errors import InputError
from divisi.contract.tracks import TrackSetOptions

if TYPE_CHECKING:
    from divisi.client import Rehearsal


@with_options(TrackSetOptions)
def tracks(
    source: Annotated[Path, typer.Argument(help="A recording, a folder of stems, or the id of a server's job.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tracks.")] = Path("tracks"),
    *,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
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
        if as_json:
            show_json(made)
        else:
            say(f"{len(made)} tracks in {printable(out)}")


def rehearsal(
    job: Annotated[str, typer.Argument(help="Id of a server's job.")],
    keep: Annotated[Path | None, typer.Option(help="Keep what this JSON file, an export, holds instead.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print what is kept with a job to rehearse from, as JSON: passages, tempo, count-in; or keep something else.

    Whoever opens a link to the job has it, too.

        divisi rehearsal 01k8y3p8m4v5w6x7y8z9a0b1c2 > passages.json
        divisi rehearsal 01k9a2b3c4d5e6f7g8h9j0k1m2 --keep passages.json
    """
    with exit_on_error(), connect(server) as client:
        if keep is None:
            found = client.rehearsal(job)
        else:
            wanted = _kept_in(keep)
            found = client.change_rehearsal(job, lambda _: wanted)
        show_json(found)


def _kept_in(path: Path) -> Rehearsal:
    try:
        return cast("Rehearsal", kept.Rehearsal.model_validate_json(path.read_bytes()).model_dump())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="no-such-file") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{path} holds no passages: {place}: {first['msg']}") from error
