"""What a server does for the command line: separate recordings, list its jobs and models."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from divisi.cli.out_folder import OutFolder, SeparateOne
from divisi.cli.recordings import digest_of
from divisi.cli.request import CommandRequest, check_offered
from divisi.cli.terminal import (
    Json,
    console,
    errors,
    exit_on_error,
    of_this_machine,
    printable,
    remarks_on,
    say,
    show_json,
    show_table,
)
from divisi.contract.errors import DivisiError, NotFoundError

if TYPE_CHECKING:
    from divisi.client import Client, Job

DEFAULT_SERVER = "http://127.0.0.1:8000"
SERVER_VARIABLE = "DIVISI_SERVER"
ID_LENGTH = 26
_WIDE = 110  # columns of a terminal with room for a second id
_KEY_IS_TAKEN = frozenset({"idempotency-key-in-flight", "idempotency-key-reused"})

Server = Annotated[str, typer.Option(help="Address of a divisi server.", envvar=SERVER_VARIABLE)]

models = typer.Typer(help="List the models with their stems and measured quality.")


def connect(server: str) -> Client:
    """A client of a server, which is shown the environment's key, `DIVISI_API_KEY`."""
    from divisi.client import Client

    return Client(server)


def separation_of(request: CommandRequest, server: str | None, *, again: bool = False) -> SeparateOne:
    """Separation as it is asked for, in this process or by a server; `again` as of `remote_separation`."""
    if server is not None:
        return remote_separation(server, request, again=again)
    separate: SeparateOne = of_this_machine("separation").local_separation(request)
    return separate


def remote_separation(server: str, request: CommandRequest, *, again: bool = False) -> SeparateOne:
    """Separation by a server; its record and audio are erased there once all that was asked for is here.

    Whatever goes wrong before, a job that has succeeded or still runs stays, and the same command takes it up.

    Args:
        again: separate anew what an earlier run has left finished.
    """
    client = connect(server)
    if request.model_id is not None:  # before a recording is sent
        check_offered(request.model_id, client.models())

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> list[str]:
        last = _submit(client, paths, request, again=again)

        def watch(job: Job) -> None:
            nonlocal last
            last = job
            on_progress(job["progress"])

        try:
            job = client.wait(last["id"], on_progress=watch)
            _download(client, job, out, request)
        except BaseException as failure:
            if last["state"] in {"failed", "cancelled"} or (
                isinstance(failure, KeyboardInterrupt) and _is_cancelled(client, last)
            ):
                _erase(client, last["id"])
            else:
                _report_left(server, last)
            raise
        _erase(client, job["id"])
        report = job["report"]
        if not report:
            return []
        detected = report["voices"] if report["are_voices_detected"] else ()
        return remarks_on(paths[0], detected, [warning["message"] for warning in report.get("warnings", [])])

    return separate_one


def _submit(client: Client, paths: Sequence[Path], request: CommandRequest, *, again: bool) -> Job:
    """A new job, or the one that an earlier run of the same person left, which has not failed."""
    asked = request.arguments()
    whose = [platform.node(), os.path.expanduser("~")]
    key = digest_of(paths, json.dumps([asked, *whose], sort_keys=True))
    send = partial(client.submit, paths, **asked)
    try:
        job = send(idempotency_key=key)
        if job["state"] in {"failed", "cancelled"}:
            client.delete(job["id"])
            job = send(idempotency_key=key)
    except DivisiError as error:
        if error.code not in _KEY_IS_TAKEN:
            raise
        return send()  # the server's default model has changed, or another command sends the same at this moment
    return send() if again and job["state"] == "succeeded" else job


def _download(client: Client, job: Job, out: OutFolder, request: CommandRequest) -> None:
    with out.unfinished() as folder:
        client.download_stems(job, folder)
        if request.include_pitch:
            client.download_pitch(job, folder)
        if request.include_resynthesis:
            client.download_resynthesis(job, folder)
        if request.include_plot:
            client.download_report(job, folder)
        out.publish_all(folder)


def _is_cancelled(client: Client, job: Job) -> bool:
    """Cancels a job that nobody waits for any more, unless it has ended."""
    try:
        return client.cancel(job["id"])["state"] == "cancelled"
    except DivisiError:
        return False


def _erase(client: Client, job_id: str) -> None:
    """What the caller asked for is done: a server that has left since is no failure."""
    try:
        client.delete(job_id)
    except NotFoundError:
        pass
    except DivisiError as error:
        say(f"job {job_id} was not erased on the server: {error.message}", errors)


def _report_left(server: str, job: Job) -> None:
    standing = "is finished and stays" if job["state"] == "succeeded" else "goes on"
    say(
        f"job {job['id']} {standing} on the server: the same command, without --again, fetches its stems "
        "and separates nothing anew; "
        f"or see {server.rstrip('/')}/#/jobs/{job['id']}, `divisi jobs --server {server}`",
        errors,
    )


def jobs(
    server: Server = DEFAULT_SERVER,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    cancel: Annotated[str | None, typer.Option(help="Cancel the job with this id instead.")] = None,
    keep: Annotated[str | None, typer.Option(help="Keep the job with this id until it is erased.")] = None,
    stop_keeping: Annotated[str | None, typer.Option(help="Let the job with this id expire as others do.")] = None,
    as_json: Json = False,
) -> None:
    """List a server's jobs, newest first; or cancel one, or keep it."""
    with exit_on_error(), connect(server) as client:
        asked = {
            "cancelled": (client.cancel, cancel),
            "kept": (client.keep, keep),
            "no longer kept:": (client.stop_keeping, stop_keeping),
        }
        for what, (call, job_id) in asked.items():
            if job_id is not None:
                job = call(job_id)
                show_json(job) if as_json else say(f"{what} {job_id}")
                return
        found = client.jobs(limit=limit)["jobs"]
        if as_json:
            show_json(found)
            return
        if not found:
            say("no jobs yet; divisi separate --server or divisi compare make some")
            return
        # Ids are whole on any terminal: they are what one cancels, and the last part of a comparison's address.
        has_groups = console.width >= _WIDE
        a_group = [Column("group", min_width=ID_LENGTH)] if has_groups else []
        recording = Column("recording", overflow="fold")
        table = Table(Column("job", min_width=ID_LENGTH), "state", "%", "model", recording, *a_group, box=None)
        for job in found:
            cells = [job["id"], job["state"], f"{100 * job['progress']:.0f}", job["model"], printable(job["file_name"])]
            table.add_row(*cells, *([job["group"] or ""] if has_groups else []))
        show_table(table)


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(help="Address of a divisi server; default: this machine.", envvar=SERVER_VARIABLE)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models with their stems and measured quality. `--json` prints the whole cards."""
    if context.invoked_subcommand:
        return
    with exit_on_error():
        if server is None:
            cards, lack = of_this_machine("separation").local_models(), "needs the extra torch"
        else:
            with connect(server) as client:
                cards, lack = client.models(), "no worker at work can run it"
    if as_json:
        show_json(cards)
        return
    # A line a model, also on a terminal of 80 columns: what does not fit is in --json and in the card.
    whole, cut = partial(Column, no_wrap=True), partial(Column, no_wrap=True, overflow="ellipsis")
    table = Table(
        *(whole("model"), whole("version"), whole("dB"), cut("stems", ratio=3), cut("what it is", ratio=2)),
        box=None,
        expand=console.is_terminal,
    )
    for card in cards:
        quality = next((f"{one['mean']:.1f}" for one in card["quality"]), "–")
        title = (f"({lack}) " if card["is_offered"] is False else "") + printable(card["title"])
        table.add_row(card["id"], card["version"], quality, ", ".join(card["stems"]), title)
    show_table(table)
    say("dB: SI-SDR, mean over the stems of the model's first test set")
