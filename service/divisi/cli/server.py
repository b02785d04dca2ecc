"""What a server does for the command line: separate recordings, compare models, list its jobs and models."""

from __future__ import annotations

import json
import os
import platform
import webbrowser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel
from rich.table import Column, Table

from divisi.cli.out_folder import OutFolder, SeparateOne
from divisi.cli.recordings import check_readable, digest_of
from divisi.cli.request import CommandRequest, check_offered, with_options
from divisi.cli.terminal import (
    console,
    errors,
    exit_on_error,
    of_this_machine,
    printable,
    progress_bar,
    report_stems,
    say,
    show_table,
)
from divisi.contract.errors import DivisiError, InputError, NotFoundError
from divisi.contract.request import Offer

if TYPE_CHECKING:
    from divisi.client import Client, Comparison, Job
    from divisi.client.records import System

DEFAULT_SERVER = "http://127.0.0.1:8000"
ID_LENGTH = 26
_WIDE = 110  # columns of a terminal with room for a second id
_KEY_IS_TAKEN = frozenset({"idempotency-key-in-flight", "idempotency-key-reused"})

Server = Annotated[str, typer.Option(help="Address of a divisi server.")]

models = typer.Typer(help="List the models with their stems and measured quality.")


def connect(server: str) -> Client:
    """A client that shows the key that the environment has, `DIVISI_API_KEY`."""
    from divisi.client import Client

    return Client(server, api_key=os.environ.get("DIVISI_API_KEY"))


def remote_separation(server: str, request: CommandRequest, *, again: bool = False) -> SeparateOne:
    """Separation by a server; its record and audio are erased there once all that was asked for is here.

    Whatever goes wrong before, a job that has succeeded or still runs stays, and the same command takes it up.

    Args:
        again: separate anew what an earlier run has left finished.
    """
    client = connect(server)
    if request.model_id is not None:  # before a recording is sent
        check_offered(request.model_id, client.models())

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> None:
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
        if report := job["report"]:
            detected = report["voices"] if report["are_voices_detected"] else ()
            report_stems(paths[0], detected, [warning["message"] for warning in report.get("warnings", [])])

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


class ComparisonOptions(BaseModel):
    """What is compared, and what becomes of it."""

    models: Annotated[str, Offer(("--models", "-m"), "Two model ids or more, comma-separated.")]
    out: Annotated[Path | None, Offer(("--out", "-o"), "Write stems to `OUT/<model>/`.")] = None
    reference: Annotated[
        list[str] | None, Offer(("--reference",), "True source to score against, as soprano=soprano.wav; repeat it.")
    ] = None
    export: Annotated[
        Path | None, Offer(("--export",), "Write the comparison as a folder that opens from disk, no server needed.")
    ] = None
    opens: Annotated[
        bool, Offer(("--open",), "Open the comparison in the browser; with --export the folder's page.")
    ] = False


@with_options(ComparisonOptions)
def compare(
    file: Annotated[Path, typer.Argument(help="The recording.")], *, server: Server = DEFAULT_SERVER, **asked: Any
) -> None:
    """Separate FILE with several models and compare them, voice by voice.

    A server does it, a job for each model. The table has the SI-SDR of each voice where true sources are given; without
    them it says how sure the service is of each stem.

        divisi compare choir.wav --models satb-small,chorus --open
        divisi compare mix.wav -m a,b --reference soprano=s.wav --reference alto=a.wav -o stems
        divisi compare mix.wav -m a,b --export for-the-choir
    """
    options = ComparisonOptions(**asked)
    with exit_on_error(), connect(server) as client:
        sources = _references(options.reference or [])
        comparison = _compare(client, file, options, sources)
        show_table(_table_of(comparison, has_sources=bool(sources)))
        address = f"{server.rstrip('/')}/#/groups/{comparison['group']}"
        say(f"listen: {address}")
        for system in comparison["systems"]:
            if options.out is not None and system["job"]["state"] == "succeeded":
                client.download_stems(system["job"], options.out / system["model"])
        if options.export is not None:
            page = client.export(comparison, options.export)
            say(f"or from disk: {page}")
            address = page.resolve().as_uri()
        if options.opens:
            webbrowser.open(address)
        if failed := [system["model"] for system in comparison["systems"] if system["job"]["state"] != "succeeded"]:
            raise InputError(f"{', '.join(failed)} failed", code="job-failed")


def _compare(client: Client, file: Path, options: ComparisonOptions, sources: dict[str, Path]) -> Comparison:
    """Waits for all models; InputError for what is refused before anything is sent."""
    names = list(dict.fromkeys(name.strip() for name in options.models.split(",") if name.strip()))
    for path in (file, *sources.values()):
        check_readable(path)
    if len(names) < 2:
        raise InputError("a comparison takes two models or more", code="too-few-models")
    if options.export is not None and options.export.is_dir() and any(options.export.iterdir()):
        raise InputError(
            f"{options.export} holds files already; choose a new folder for the export", code="would-replace"
        )
    with progress_bar() as progress:
        task = progress.add_task(printable(file.name), total=1.0)
        show = partial(progress.update, task)
        return client.compare(file, names, references=sources, on_progress=lambda done: show(completed=done))


def _table_of(comparison: Comparison, *, has_sources: bool) -> Table:
    """A row for each model: SI-SDR in dB of each voice and their mean, else confidence in percent."""
    title = "SI-SDR, dB" if has_sources else "how sure the service is of each stem (no true source was given)"
    columns = [*comparison["voices"], *(["mean"] if has_sources else [])]
    table = Table(Column("model", no_wrap=True), *columns, title=title, title_justify="left", box=None)
    for system in comparison["systems"]:
        table.add_row(system["model"], *(_scores(system) if has_sources else _confidences(system)))
    return table


def _scores(system: System) -> list[str]:
    """In dB of each voice, and their mean."""
    values = [*(cell["si_sdr_db"] for cell in system["cells"]), system["mean_si_sdr_db"]]
    return ["–" if value is None else f"{value:.1f}" for value in values]


def _confidences(system: System) -> list[str]:
    """In percent of each voice."""
    means = {one["stem"]: one["mean"] for one in system["job"]["confidence"]}
    values = [means.get(cell["voice"]) for cell in system["cells"]]
    return ["–" if value is None else f"{100 * value:.0f} %" for value in values]


def _references(texts: list[str]) -> dict[str, Path]:
    sources = {}
    for text in texts:
        stem, equals, path = text.partition("=")
        if not (stem and equals and path):
            raise InputError(f"{text!r} is no true source; write it as soprano=soprano.wav", code="invalid-reference")
        sources[stem] = Path(path)
    return sources


def jobs(
    server: Server = DEFAULT_SERVER,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    cancel: Annotated[str | None, typer.Option(help="Cancel the job with this id instead.")] = None,
) -> None:
    """List a server's jobs, newest first; or cancel one."""
    with exit_on_error(), connect(server) as client:
        if cancel is not None:
            client.cancel(cancel)
            say(f"cancelled {cancel}")
            return
        found = client.jobs(limit=limit)["jobs"]
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
    server: Annotated[str | None, typer.Option(help="Address of a divisi server.")] = None,
) -> None:
    """List the models with their stems and measured quality."""
    if context.invoked_subcommand:
        return
    with exit_on_error():
        if server is None:
            cards, lack = of_this_machine("separation").local_models(), "needs the extra torch"
        else:
            with connect(server) as client:
                cards, lack = client.models(), "no worker at work can run it"
    table = Table("model", "version", "stems", "quality (mean over stems)", "real-time factor", "title")
    for card in cards:
        quality = "\n".join(f"{q['mean']:.1f} {q['metric']}, {q['test_set']}" for q in card["quality"][:1])
        speed = "\n".join(f"{s['real_time_factor']:.3f} {s['engine']}" for s in card["speed"][:1])
        title = printable(card["title"]) + (f"\n({lack})" if card["is_offered"] is False else "")
        table.add_row(card["id"], card["version"], ", ".join(card["stems"]), quality, speed, title)
    show_table(table)
