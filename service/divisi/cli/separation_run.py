"""One run of `divisi separate`: recording after recording, each into its folder, whatever is wrong with one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.progress import Progress, TaskID

from divisi.cli.batches import digest_of, ends_the_run, folders_for, reason_of
from divisi.cli.out_folder import OutFolder, check_writable, identity_of
from divisi.cli.recordings import check_readable
from divisi.cli.request import CommandRequest
from divisi.cli.terminal import complain, errors, printable, say
from divisi.contract.errors import InputError

SeparateOne = Callable[[Sequence[Path], OutFolder, Callable[[float], None]], None]
"""Separates one recording, in one file or in several, into a folder, calling back with its progress 0..1."""


@dataclass
class Outcome:
    """What became of the recordings.

    Attributes:
        problems: folders that could not be looked into or hold no recordings, a sentence each.
        refused: recordings that were not done, and why, a sentence each.
        done: folders of stems, also of what was done before.
        num_skipped: how many were done before.
        total: how many recordings there are.
    """

    problems: list[str]
    refused: list[str] = field(default_factory=list)
    done: list[Path] = field(default_factory=list)
    num_skipped: int = 0
    total: int = 0

    @property
    def is_complete(self) -> bool:
        """True when everything that was asked for is there."""
        return not (self.problems or self.refused)

    def report(self) -> None:
        """Says where the stems are, and what has none and why."""
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


class Run:
    """What is the same for all recordings of one run.

    Args:
        out: the folder named on the command line.
        request: what is asked of each recording.
        separate: does one.
        progress: shown meanwhile.
        again: do what is done, and replace what was made of another recording.
    """

    def __init__(
        self, out: Path, request: CommandRequest, separate: SeparateOne, progress: Progress, *, again: bool = False
    ) -> None:
        self._out = out
        self._request = request
        self._separate = separate
        self._progress = progress
        self._again = again
        self._key = digest_of([], request.digested())

    def separate_one(self, paths: Sequence[Path], outcome: Outcome) -> None:
        """One recording, in one file or in several, into the folder itself."""
        folder = self._folder(self._out, digest_of(paths), paths)
        folder.check([])
        self._do(paths, folder)
        outcome.done.append(folder.path)

    def separate_all(self, paths: Sequence[Path], outcome: Outcome) -> None:
        """Each recording into a folder of its own; what is wrong with one does not end the others.

        Raises:
            DivisiError, OSError: what every recording would meet.
        """
        outcome.total = len(paths)
        digests = self._read(paths, outcome)
        folders = folders_for(list(digests), list(digests.values()), self._out)
        waiting: list[tuple[Path, OutFolder]] = []
        for (path, digest), place in zip(digests.items(), folders, strict=True):
            folder = self._folder(place, digest, paths)
            if not self._again and folder.has_finished(self._key):
                outcome.num_skipped += 1
                outcome.done.append(place)
            else:
                waiting.append((path, folder))
        if waiting:
            check_writable(self._out)
        for path, folder in waiting:
            try:
                self._do([path], folder)
            except Exception as error:  # a decoder's, too: the others can be done
                if ends_the_run(error):
                    raise
                outcome.refused.append(_refusal(path, error))
            else:
                outcome.done.append(folder.path)

    def _read(self, paths: Sequence[Path], outcome: Outcome) -> dict[Path, str]:
        """Digests of what can be read."""
        digests: dict[Path, str] = {}
        task = self._progress.add_task("reading", total=len(paths))
        for path in paths:
            try:
                check_readable(path)
                digests[path] = digest_of([path])
            except (InputError, OSError) as error:
                outcome.refused.append(_refusal(path, error))
            self._progress.advance(task)
        return digests

    def _folder(self, path: Path, digest: str, recordings: Sequence[Path]) -> OutFolder:
        return OutFolder(path, digest, frozenset(map(identity_of, recordings)), replaces_others=self._again)

    def _do(self, paths: Sequence[Path], folder: OutFolder) -> None:
        task = self._progress.add_task(printable(paths[0].name), total=1.0)
        self._separate(paths, folder, partial(_show, self._progress, task))
        folder.finish(self._key)
        self._progress.update(task, completed=1.0)


def _show(progress: Progress, task: TaskID, done: float) -> None:
    progress.update(task, completed=done)


def _refusal(path: Path, error: Exception) -> str:
    reason = reason_of(error)
    return reason if reason.startswith(str(path)) else f"{path}: {reason}"


def report_voices(path: Path, voices: Sequence[str], are_detected: bool) -> None:
    """Says whom `--voices auto` heard."""
    if are_detected:
        say(f"{path.name}: heard {', '.join(voices)}")


def report_warnings(path: Path, messages: Sequence[str]) -> None:
    """Says what to know before relying on the stems, a line each."""
    for message in messages:
        say(f"{path.name}: {message}")
