"""`divisi separate`: recordings into stems, one after another, in this process or through a server."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.progress import Progress

from divisi.cli.out_folder import OutFolder, SeparateOne, check_writable, identity_of, made_in
from divisi.cli.recordings import check_readable, digest_of, distinct, find_recordings, folders_for
from divisi.cli.request import CommandRequest, request_from, with_options
from divisi.cli.server import SERVER_VARIABLE, separation_of
from divisi.cli.terminal import (
    EXIT_BAD_INPUT,
    complain,
    errors,
    exit_on_error,
    printable,
    progress_bar,
    say,
    show_json,
)
from divisi.contract.errors import AccessError, DivisiError, InputError, LimitError, UnavailableError, kind_of
from divisi.contract.request import Offer

# What ends a run at once: every other recording would meet the same.
_FAULTS_OF_THE_RUN = (AccessError, LimitError, UnavailableError, ModuleNotFoundError)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class RunOptions(BaseModel):
    """How a run goes about its recordings."""

    again: Annotated[
        bool, Offer(("--again",), "Do again what is done; also in place of another recording's stems.")
    ] = False
    together: Annotated[
        bool, Offer(("--together",), "The FILES are one recording: mono, a microphone each, in this order.")
    ] = False
    beside: Annotated[
        bool, Offer(("--beside",), "Write each recording's stems to a folder beside it, in place of OUT.")
    ] = False
    as_json: Annotated[bool, Offer(("--json",), "Print JSON, for programs.")] = False


@with_options(CommandRequest, RunOptions)
def separate(
    files: Annotated[list[Path], typer.Argument(help="Recordings, wav, flac, ogg, mp3, m4a …; or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the stems.")] = Path("stems"),
    *,
    server: Annotated[
        str | None, typer.Option(help="Address of a divisi server; default: this machine.", envvar=SERVER_VARIABLE)
    ] = None,
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
        divisi separate rehearsals/ --beside
        divisi separate *.flac -o stems --format flac --server http://127.0.0.1:8000
        divisi separate 1.wav 2.wav 3.wav --together -m fastmnmf2 --spots violin:1,piano:2 -o stems
    """
    with exit_on_error():
        request, options = request_from(asked, CommandRequest), request_from(asked, RunOptions)
        is_one = options.together or (len(files) == 1 and not os.path.isdir(files[0]))
        found = find_recordings(files)
        if is_one and found.problems:
            raise InputError(found.problems[0], code="no-such-file")
        if is_one:
            for path in found.recordings:
                check_readable(path)
        separate_one = separation_of(request, server, again=options.again)
        key = digest_of([], request.digested())
        run = Run(out, separate_one, key, progress_bar(), options, found.problems)
        try:
            with run.progress:
                if is_one and not options.beside:
                    run.separate_one(found.recordings)
                else:
                    run.separate_all(distinct(found.recordings))
        finally:
            run.report()
    if run.problems or run.refused:
        raise typer.Exit(EXIT_BAD_INPUT)


@dataclass
class Run:
    """One run over recordings, and what became of them.

    Attributes:
        out: the folder named on the command line.
        separate: does one recording.
        key: digest of what is asked of each.
        progress: shown meanwhile.
        options: as asked for.
        problems: folders that could not be looked into or hold no recordings, a sentence each.
        refused: recordings that were not done, and why, a sentence each.
        done: folders of stems, also of what was done before, with what to know of them.
        num_skipped: how many were done before.
        total: how many recordings there are.
    """

    out: Path
    separate: SeparateOne
    key: str
    progress: Progress
    options: RunOptions
    problems: list[str]
    refused: list[str] = field(default_factory=list)
    done: dict[Path, Sequence[str]] = field(default_factory=dict)
    num_skipped: int = 0
    total: int = 0

    def separate_one(self, paths: Sequence[Path]) -> None:
        """One recording, in one file or in several, into the folder itself."""
        folder = self._folder(self.out, digest_of(paths), paths)
        folder.check([])
        self._do(paths, folder)

    def separate_all(self, paths: Sequence[Path]) -> None:
        """Each recording into a folder of its own; what is wrong with one does not end the others.

        Raises:
            DivisiError, OSError: what every recording would meet.
        """
        self.total = len(paths)
        digests = self._read(paths)
        waiting: list[tuple[Path, OutFolder]] = []
        for path, place in self._places(digests).items():
            folder = self._folder(place, digests[path], paths)
            if not self.options.again and folder.has_finished(self.key):
                self.num_skipped += 1
                self.done[place] = ()
            else:
                waiting.append((path, folder))
        for parent in dict.fromkeys(folder.path.parent for _, folder in waiting):
            check_writable(parent)
        for path, folder in waiting:
            try:
                self._do([path], folder)
            except Exception as error:  # a decoder's, too: the others can be done
                if ends_the_run(error):
                    raise
                self.refused.append(_refusal(path, error))

    def report(self) -> None:
        """Says where the stems are, and what has none and why."""
        if self.options.as_json:
            made = [
                {"folder": folder, "files": sorted(made_in(folder)), "remarks": remarks}
                for folder, remarks in self.done.items()
            ]
            show_json({"done": made, "problems": [*self.problems, *self.refused]})
            return
        for folder in self.done:
            say(f"stems in {folder}")
        if self.num_skipped:
            say(f"{self.num_skipped} of {self.total} were done before; --again does them again")
        for problem in self.problems:
            complain(problem)
        if self.refused:
            complain(f"{len(self.refused)} of {self.total} could not be read or written:")
        for reason in self.refused:
            say(reason, errors)

    def _read(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Digests of what can be read."""
        digests: dict[Path, str] = {}
        task = self.progress.add_task("reading", total=len(paths))
        for path in paths:
            try:
                check_readable(path)
                digests[path] = digest_of([path])
            except (InputError, OSError) as error:
                self.refused.append(_refusal(path, error))
            self.progress.advance(task)
        return digests

    def _places(self, digests: Mapping[Path, str]) -> dict[Path, Path]:
        """The folder of each recording, in OUT or beside it."""
        places: dict[Path, Path] = {}
        for out in dict.fromkeys(self._out_of(path) for path in digests):
            paths = [path for path in digests if self._out_of(path) == out]
            places |= zip(paths, folders_for(paths, [digests[path] for path in paths], out), strict=True)
        return {path: places[path] for path in digests}

    def _out_of(self, path: Path) -> Path:
        return path.parent if self.options.beside else self.out

    def _folder(self, path: Path, digest: str, recordings: Sequence[Path]) -> OutFolder:
        return OutFolder(path, digest, frozenset(map(identity_of, recordings)), replaces_others=self.options.again)

    def _do(self, paths: Sequence[Path], folder: OutFolder) -> None:
        task = self.progress.add_task(printable(paths[0].name), total=1.0)
        remarks = self.separate(paths, folder, lambda done: self.progress.update(task, completed=done))
        folder.finish(self.key)
        self.progress.update(task, completed=1.0)
        self.done[folder.path] = remarks
        for remark in () if self.options.as_json else remarks:
            say(remark)


def _refusal(path: Path, error: Exception) -> str:
    reason = reason_of(error)
    return reason if reason.startswith(str(path)) else f"{path}: {reason}"


def ends_the_run(error: Exception) -> bool:
    """False for an error that one recording has by itself: the others can be done all the same."""
    if isinstance(error, DivisiError):
        return isinstance(error, _FAULTS_OF_THE_RUN) or kind_of(error.code).meets_all
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return isinstance(error, _FAULTS_OF_THE_RUN)


def reason_of(error: Exception) -> str:
    """What an error says, in one sentence."""
    if isinstance(error, DivisiError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
