"""Commands that look after a deployment, by its Redis: API keys, dead letters, and `divisi doctor`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Column, Table
from rich.text import Text

from divisi.access.key_ring import KEY_ID_LENGTH, KeyRing, Scope
from divisi.bootstrap import open_door
from divisi.cli.terminal import EXIT_FAILED, Json, errors, exit_on_error, printable, say, show_json, show_table
from divisi.contract.errors import InputError
from divisi.contract.job import Job, JobEvent
from divisi.queue.job_queue import DeadLetter, JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import EventReader
from divisi.settings import Settings, settings_with

T = TypeVar("T")

Data = Annotated[
    Path | None, typer.Option(help="Data folder of a running `divisi up`; default: the Redis of the settings.")
]
JobId = Annotated[str, typer.Argument(help="Id of the job, as `divisi dead list` shows it.")]

SECONDS_A_DAY = 24 * 3600
DEFAULT_SCOPES = [Scope.JOBS_READ, Scope.JOBS_WRITE]
MOST_LISTED = 1000

commands = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
dead = typer.Typer(no_args_is_help=True, help="See jobs that used up their attempts, and run them again.")
commands.add_typer(keys, name="keys")
commands.add_typer(dead, name="dead")


@commands.command()
def doctor(
    data: Data = None,
    without_models: Annotated[
        bool, typer.Option("--without-models", help="Leave models and engine out: this machine runs a gateway only.")
    ] = False,
) -> None:
    """Examine Redis, object store, models, engine, disk, clocks and versions; say what to do. Exits with 1 on a fault.

    Run it where a gateway or worker runs, with the same settings.
    """
    from divisi.machine.doctor import Verdict, examine

    with exit_on_error():
        findings = asyncio.run(examine(settings_of(data), without_models=without_models))
    marks = {Verdict.GOOD: "green", Verdict.DOUBTFUL: "yellow", Verdict.BAD: "bold red"}
    table = Table("", "subject", "finding, and what to do")
    for finding in findings:
        said = Text(printable(finding.what))
        if finding.remedy:
            said.append(f"\n→ {printable(finding.remedy)}", style="bold")
        table.add_row(Text(finding.verdict.value, style=marks[finding.verdict]), finding.subject, said)
    show_table(table)
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(EXIT_FAILED)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what will hold the key; for people.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat it.")] = DEFAULT_SCOPES,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; default: never.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It is shown this once: only a hash is kept.

    Run it with the gateways' DIVISI_SIGNING_SECRET, if they have one: the webhook secret rests sealed under it.
    """
    expires_at = None if days is None else time.time() + days * SECONDS_A_DAY
    made = with_key_ring(data, lambda ring: ring.create_key(name, scope, expires_at))
    if as_json:
        show_json({"id": made.key.key_id, "name": name, "key": made.token, "webhook_secret": made.webhook_secret})
        return
    say(f"key             {made.token}")
    say(f"webhook secret  {made.webhook_secret}")
    say(f"Key {made.key.key_id} for {name!r}; nobody can see these two lines again.", errors)


@keys.command(name="list")
def list_keys(data: Data = None, as_json: Json = False) -> None:
    """List the keys: ids, names, scopes, and when they were last used."""
    found = with_key_ring(data, KeyRing.keys)
    if as_json:
        show_json([{**asdict(key), "scopes": sorted(key.scopes)} for key in found])
        return
    # An id is there to be copied: never cut it short on a narrow terminal.
    table = Table(Column("id", min_width=KEY_ID_LENGTH), "name", "scopes", "created", "last used", "expires")
    for key in found:
        expires = "expired" if key.has_expired() else _day(key.expires_at)
        table.add_row(
            key.key_id,
            printable(key.name),
            " ".join(sorted(key.scopes)),
            _day(key.created_at),
            _day(key.last_used_at),
            expires,
        )
    show_table(table)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id, as `divisi keys list` shows it.")], data: Data = None
) -> None:
    """End a key. The next request with it is refused."""
    with_key_ring(data, lambda ring: ring.revoke_key(key_id))
    say(f"{key_id} is revoked")


@dead.command(name="list")
def list_dead(data: Data = None, as_json: Json = False) -> None:
    """List the dead letters, newest first."""
    letters = with_door(data, lambda door: JobQueue(door).dead_letters(MOST_LISTED))
    if as_json:
        show_json([asdict(letter) for letter in letters])
        return
    table = Table("job", "attempts", "code", "what happened")
    for letter in letters:
        table.add_row(letter.job_id, str(letter.attempts), letter.problem.code, Text(printable(letter.problem.message)))
    if letters:
        show_table(table)
    else:
        say("there are no dead letters")


@dead.command()
def show(job_id: JobId, data: Data = None) -> None:
    """Show one dead letter: what was asked, what happened at each attempt, and what its last error says."""
    letter, job, events = with_door(data, lambda door: _read(door, job_id))
    table = Table(show_header=False, box=None)
    for name, value in _facts(letter, job):
        table.add_row(name, Text(printable(value)))
    show_table(table)
    history = Table("when", "what", "attempt", "why")
    for event in events:
        if event.kind is not None:
            at = int(event.event_id.partition("-")[0]) / 1000
            why = f"{event.problem.code}: {event.problem.message}" if event.problem else ""
            history.add_row(_time(at), event.kind.value, str(event.attempt), Text(printable(why)))
    show_table(history)
    say(f"when its cause is mended: divisi dead retry {job_id}")


@dead.command()
def retry(
    job_ids: Annotated[list[str] | None, typer.Argument(help="Ids of the jobs.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    data: Data = None,
) -> None:
    """Queue dead letters again, with fresh attempts. They must not have expired: their recordings go with them."""
    with exit_on_error():
        if bool(job_ids) == every:
            raise InputError("name the jobs to run again, or --all", code="no-jobs")
    for job_id in with_door(data, lambda door: _retry(JobQueue(door), job_ids)):
        say(f"{job_id} is queued again")


async def _read(door: RedisDoor, job_id: str) -> tuple[DeadLetter, Job, list[JobEvent]]:
    queue = JobQueue(door)
    job = await queue.get(job_id)
    for letter in await queue.dead_letters(MOST_LISTED):
        if letter.job_id == job_id:
            return letter, job, [event async for event in EventReader(door).events(job_id) if event is not None]
    raise InputError(f"job {job_id} is {job.state.value} and no dead letter", code="not-a-dead-letter")


async def _retry(queue: JobQueue, job_ids: list[str] | None) -> list[str]:
    chosen = job_ids or [letter.job_id for letter in await queue.dead_letters(MOST_LISTED)]
    for job_id in chosen:
        await queue.retry_dead_letter(job_id)
    return chosen


def _facts(letter: DeadLetter, job: Job) -> list[tuple[str, str]]:
    seconds = f", {job.duration_seconds:.1f} s" if job.duration_seconds else ""
    return [
        ("job", job.job_id),
        ("recording", f"{job.file_name}{seconds}"),
        ("model", f"{job.model_id} {job.model_version}"),
        ("submitted", _time(job.submitted_at)),
        ("attempts", str(letter.attempts)),
        ("last error", f"{letter.problem.code}: {letter.problem.message}"),
        *((f"  {name}", str(value)) for name, value in letter.problem.facts.items()),
        ("expires", _time(job.expires_at) if job.expires_at else "never"),
    ]


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else "never"


def settings_of(data: Path | None) -> Settings:
    """The settings, with the Redis and the store of a running `divisi up` where one is named."""
    if data is None:
        return settings_with()
    from divisi.standalone import redis_url_of

    return settings_with(redis_url=redis_url_of(data), store_url=f"file://{(data / 'store').resolve()}")


def with_key_ring(data: Path | None, act: Callable[[KeyRing], Awaitable[T]]) -> T:
    """What `act` gives, asked of the deployment's keys; our errors end the command."""
    return with_door(data, lambda door: act(KeyRing(door, settings_of(data).signing_secret)))


def with_door(data: Path | None, act: Callable[[RedisDoor], Awaitable[T]]) -> T:
    """What `act` gives, asked of the deployment's Redis; our errors end the command."""

    async def run() -> T:
        door = open_door(settings_of(data))
        try:
            return await act(door)
        finally:
            await door.close()

    with exit_on_error():
        return asyncio.run(run())
