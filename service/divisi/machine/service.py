"""Commands that run the service, all of it on one machine or one of its processes, and that watch it."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from divisi.cli.terminal import console, exit_on_error, printable, progress_bar, say, show_table
from divisi.contract.errors import NotFoundError, UnavailableError
from divisi.contract.job import Job, JobState
from divisi.machine.deployment import Data, with_door
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import Overview, overview
from divisi.queue.worker_side import WorkerState, WorkerStatus
from divisi.settings import settings_with
from divisi.telemetry import configure_logging

RECENT_JOBS = 12
# Workers say what they do every two seconds or so.
SILENT_SECONDS = 10.0
PROGRESS_WIDTH = 16

_JOB_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "dim",
}
_WORKER_STYLES = {
    WorkerState.STARTING: "yellow",
    WorkerState.IDLE: "green",
    WorkerState.BUSY: "cyan",
    WorkerState.DRAINING: "magenta",
}

commands = typer.Typer()


@commands.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data: Annotated[Path, typer.Option(help="Folder for the queue and the audio.")] = Path(".divisi"),
) -> None:
    """Run everything on this machine: gateway, one worker, Redis, a local folder as object store.

    Stop it with Ctrl-C; queued jobs wait in the data folder for the next start.
    """
    from divisi.standalone import Standalone

    stopping = threading.Event()
    with exit_on_error():
        settings = settings_with(host=host, port=port)
        configure_logging(settings.log_level, settings.log_format, process="up")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        with Standalone(settings, data) as machine:
            say(f"divisi listens on {machine.url}  (Ctrl-C stops it)")
            machine.watch(stopping)


@commands.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the HTTP gateway: takes uploads, queues jobs, delivers stems. Needs Redis and an object store."""
    from divisi.gateway.app import run_gateway

    with exit_on_error():
        settings = settings_with(host=host, port=port)
        configure_logging(settings.log_level, settings.log_format, process="gateway")
        run_gateway(settings)


@commands.command()
def worker() -> None:
    """Run one worker: claims jobs, separates, writes stems. Start as many as there are cores or GPUs."""
    from divisi.worker.supervisor import run_worker

    with exit_on_error():
        settings = settings_with()
        configure_logging(settings.log_level, settings.log_format, process="worker")
        run_worker(settings)


@commands.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stems.")] = Path("out"),
) -> None:
    """Start everything, separate the sample chorale through the REST API, leave the stems, stop."""
    from divisi.client import Client
    from divisi.sample import mixture_path
    from divisi.standalone import Standalone

    mixture = mixture_path()
    with exit_on_error(), TemporaryDirectory(prefix="divisi-demo-") as data:
        settings = settings_with(port=free_port(), log_level="warning", require_keys=False)
        configure_logging(settings.log_level, settings.log_format, process="demo")
        started = time.monotonic()
        with Standalone(settings, Path(data)) as machine, Client(machine.url) as client:
            say(f"divisi is up at {machine.url} after {time.monotonic() - started:.1f} s")
            with progress_bar() as progress:
                task = progress.add_task(mixture.name, total=1.0)
                submitted = time.monotonic()
                job = client.submit(mixture)
                job = client.wait(job["id"], on_progress=lambda now: progress.update(task, completed=now["progress"]))
                seconds = time.monotonic() - submitted
                paths = client.download_stems(job, out)
            client.delete(job["id"])
    length = job["input"]["duration_seconds"] or 0.0
    say(
        f"{mixture.name}, {length:.1f} s, separated by {job['model']} {job['model_version']} through the REST API "
        f"in {seconds:.1f} s: {length / seconds:.1f} times as fast as it plays."
    )
    say(f"Listen to {'  '.join(str(path) for path in paths)}")


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Snapshot:
    """What one frame shows; `held` are the jobs that workers hold, by id, `at` Unix seconds."""

    at: float
    overview: Overview
    recent: tuple[Job, ...]
    held: Mapping[str, Job]


@commands.command()
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds from frame to frame.")] = 1.0,
    data: Data = None,
) -> None:
    """Watch the queue, the workers and the latest jobs. Ctrl-C ends it."""
    try:
        with_door(data, lambda door: _print_once(door) if once else _watch(door, every))
    except KeyboardInterrupt:
        return


async def look(door: RedisDoor) -> Snapshot:
    """Asks the queue for all that one frame shows."""
    queue = JobQueue(door)
    now, page = await asyncio.gather(overview(door), queue.list(limit=RECENT_JOBS))
    held = {job.job_id: job for job in page.jobs}
    for worker in now.workers:
        if worker.job_id is not None and worker.job_id not in held:
            try:
                held[worker.job_id] = await queue.get(worker.job_id)
            except NotFoundError:
                continue  # erased since
    return Snapshot(time.time(), now, page.jobs, held)


def frame(snapshot: Snapshot, before: Snapshot | None = None) -> RenderableType:
    """One frame; with an earlier snapshot it says how fast jobs are done."""
    return Group(_summary(snapshot, before), _lanes(snapshot), _workers(snapshot), _jobs(snapshot))


async def _print_once(door: RedisDoor) -> None:
    show_table(frame(await look(door)))


async def _watch(door: RedisDoor, every: float) -> None:
    first = before = await look(door)
    with Live(frame(before), console=console, screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(every)
            try:
                before = await look(door)
                live.update(frame(before, first), refresh=True)
            except UnavailableError as error:
                away = Text(f"\n{printable(error.message)}; waiting for it", style="red")
                live.update(Group(frame(before, first), away), refresh=True)


def _summary(snapshot: Snapshot, before: Snapshot | None) -> Text:
    counters, dead = snapshot.overview.counters, snapshot.overview.dead_letters
    text = Text.assemble(("divisi ", "bold"), time.strftime("%H:%M:%S", time.localtime(snapshot.at)))
    for name in ("accepted", "succeeded", "failed", "cancelled", "lost_leases"):
        text.append(f"  {name.replace('_', ' ')} {counters.get(name, 0)}")
    text.append(f"  dead letters {dead}", style="red" if dead else "")
    if before is not None and snapshot.at - before.at > 1:
        done = counters.get("succeeded", 0) - before.overview.counters.get("succeeded", 0)
        text.append(f"  {60 * done / (snapshot.at - before.at):.1f} jobs a minute")
    return text


def _lanes(snapshot: Snapshot) -> Table:
    table = Table("lane", "waiting", "running", "oldest waits")
    for lane, depth in snapshot.overview.lanes.items():
        oldest = _span(depth.oldest_waiting_seconds) if depth.waiting else "–"
        table.add_row(lane.value, str(depth.waiting), str(depth.running), oldest)
    return table


def _workers(snapshot: Snapshot) -> RenderableType:
    workers = snapshot.overview.workers
    if not workers:
        return Text("no worker reported within a minute: start one with `divisi worker`", style="red")
    table = Table("worker", "state", "engine", "job", "stage", "progress", "attempts", "up", "reported")
    for worker in workers:
        job = snapshot.held.get(worker.job_id or "")
        progress, stage = ("", printable(worker.problem or "")) if job is None else (_bar(job), job.stage or "")
        silent = worker.silent_seconds > SILENT_SECONDS
        table.add_row(
            worker.consumer,
            Text(worker.state.value, style=_WORKER_STYLES[worker.state]),
            _engine(worker),
            worker.job_id or "",
            stage,
            progress,
            str(worker.attempts),
            _span(snapshot.at - worker.started_at),
            Text(f"{_span(worker.silent_seconds)} ago", style="red" if silent else ""),
        )
    return table


def _engine(worker: WorkerStatus) -> str:
    return f"{worker.engine} on {worker.device}" if worker.engine else "–"


def _jobs(snapshot: Snapshot) -> RenderableType:
    if not snapshot.recent:
        return Text("no jobs yet", style="dim")
    table = Table("job", "state", "progress", "model", "recording", "length", "lane", "age", "took", "why")
    for job in snapshot.recent:
        took = "" if job.started_at is None else _span((job.ended_at or snapshot.at) - job.started_at)
        table.add_row(
            job.job_id,
            Text(job.state.value, style=_JOB_STYLES[job.state]),
            _bar(job),
            job.model_id,
            Text(printable(job.file_name), overflow="ellipsis", no_wrap=True),
            _span(job.duration_seconds) if job.duration_seconds else "",
            job.lane.value,
            _span(snapshot.at - job.submitted_at),
            took,
            job.problem.code if job.problem else (f"attempt {job.attempt}" if job.attempt > 1 else ""),
        )
    return table


def _bar(job: Job) -> RenderableType:
    return ProgressBar(total=1.0, completed=job.progress, width=PROGRESS_WIDTH)


def _span(seconds: float) -> str:
    """A length of time in at most two units."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d"
