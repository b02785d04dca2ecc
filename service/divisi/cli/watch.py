"""`divisi watch`: a folder in which every new recording is separated once, as `divisi separate` would do it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from divisi.cli.out_folder import SeparateOne
from divisi.cli.recordings import digest_of, distinct, find_recordings
from divisi.cli.request import CommandRequest, request_from, with_options
from divisi.cli.separate import Run, RunOptions
from divisi.cli.server import SERVER_VARIABLE, separation_of
from divisi.cli.terminal import exit_on_error, progress_bar, say
from divisi.contract.errors import InputError, LimitError, UnavailableError

LOOK_SECONDS = 2.0
QUIET_SECONDS = 5.0
"""A file that nobody has written to for so long is complete."""

PAUSE_SECONDS = 10.0
"""Until a server that is away is asked again."""

Facts = tuple[int, int]
"""Size in bytes and time of the last change, ns."""


@with_options(CommandRequest)
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder to look into, at any depth.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stems.")] = Path("stems"),
    *,
    beside: Annotated[bool, typer.Option("--beside", help="Write stems beside each recording, not to OUT.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Address of a divisi server; default: this machine.", envvar=SERVER_VARIABLE)
    ] = None,
    **asked: Any,
) -> None:
    """Separate each recording that comes into FOLDER, once. Ctrl-C ends it.

    A recording is taken when nobody has written to it for five seconds, and gets a folder of its own in OUT. What an
    earlier run has done is skipped, whatever it is called by now; what failed is tried again when it has changed. While
    a server is away, or asks for a pause, recordings wait.

        divisi watch ~/Rehearsals -o ~/Stems --format mp3
        divisi watch /srv/incoming -o /srv/stems --server http://127.0.0.1:8000
    """
    stopping = threading.Event()
    with exit_on_error():
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name one that recordings come into", code="not-a-folder")
        request = request_from(asked, CommandRequest)
        key = digest_of([], request.digested())
        watched = Watch(folder, out, separation_of(request, server), key, RunOptions(beside=beside))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        say(f"watching {folder}; stems go {'beside the recordings' if beside else f'to {out}'}; Ctrl-C ends it")
        while not stopping.is_set():
            watched.look()
            stopping.wait(LOOK_SECONDS)


@dataclass
class Watch:
    """What has been seen in a folder, and what became of it.

    Attributes:
        folder: that is looked into.
        out: folder of the stems.
        separate: does one recording.
        key: digest of what is asked of each.
        options: of the runs.
        now: seconds since 1970.
        handled: what each file was like when it was separated, or could not be.
        waits_until: while a server is away or asks for a pause: when to ask it again, as `now` counts.
        reason: why, as it was said.
    """

    folder: Path
    out: Path
    separate: SeparateOne
    key: str
    options: RunOptions = field(default_factory=RunOptions)
    now: Callable[[], float] = time.time
    handled: dict[Path, Facts] = field(default_factory=dict)
    waits_until: float = 0.0
    reason: str = ""

    def look(self) -> None:
        """Separates what is complete and was not tried before.

        Raises:
            DivisiError, OSError: what every recording would meet, and does not pass.
        """
        if self.now() < self.waits_until:
            return
        found = {path: facts_of(path) for path in distinct(find_recordings([self.folder]).recordings)}
        complete = {path: facts for path, facts in found.items() if facts is not None and self._is_complete(facts)}
        new = [path for path, facts in complete.items() if self.handled.get(path) != facts]
        for path in new:
            try:
                self._separate(path)
            except (LimitError, UnavailableError) as error:
                self.waits_until = self.now() + error.facts.get("retry_after_seconds", PAUSE_SECONDS)
                if error.message != self.reason:
                    say(f"{error.message}; {path} and what comes after it wait")
                    self.reason = error.message
                return
            self.handled[path] = complete[path]
            self.reason = ""
        self._forget(found)

    def _is_complete(self, facts: Facts) -> bool:
        _, changed_ns = facts
        return abs(self.now() - changed_ns / 1e9) >= QUIET_SECONDS

    def _separate(self, path: Path) -> None:
        run = Run(self.out, self.separate, self.key, progress_bar(), self.options, [])
        try:
            with run.progress:
                run.separate_all([path])
        finally:
            run.report()

    def _forget(self, found: Iterable[Path]) -> None:
        """Files that are gone: another of the same name is another one."""
        self.handled = {path: self.handled[path] for path in found if path in self.handled}


def facts_of(path: Path) -> Facts | None:
    """None of a file that has gone meanwhile."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
