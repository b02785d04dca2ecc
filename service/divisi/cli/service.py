"""Commands that run the service: all of it on one machine, the demo, or one of its processes."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from divisi.cli.terminal import exit_on_error, progress_bar, say, settings_with
from divisi.telemetry import configure_logging


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


def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Run the HTTP gateway: takes uploads, queues jobs, hands out stems. Needs Redis and an object store."""
    from divisi.gateway.app import run_gateway

    with exit_on_error():
        settings = settings_with(host=host, port=port)
        configure_logging(settings.log_level, settings.log_format, process="gateway")
        run_gateway(settings)


def worker() -> None:
    """Run one worker: claims jobs, separates, writes stems. Start as many as there are cores or GPUs."""
    from divisi.worker.supervisor import run_worker

    with exit_on_error():
        settings = settings_with()
        configure_logging(settings.log_level, settings.log_format, process="worker")
        run_worker(settings)


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
