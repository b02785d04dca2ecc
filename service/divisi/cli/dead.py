"""`divisi dead`: jobs that used up their attempts; see why, and run them again."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from divisi.cli.queue import Data, with_door
from divisi.cli.terminal import exit_on_error, printable, say, show_table
from divisi.contract.errors import InputError
from divisi.contract.job import Job, JobEvent
from divisi.door.redis_door import RedisDoor
from divisi.jobs.events import EventReader
from divisi.jobs.queue import DeadLetter, JobQueue

MOST_LISTED = 1000

dead = typer.Typer(no_args_is_help=True, help="See jobs that used up their attempts, and run them again.")

JobId = Annotated[str, typer.Argument(help="Id of the job, as `divisi dead list` shows it.")]


@dead.command(name="list")
def list_dead(data: Data = None) -> None:
    """List the dead letters, newest first."""
    letters = with_door(data, lambda door: JobQueue(door).dead_letters(MOST_LISTED))
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
