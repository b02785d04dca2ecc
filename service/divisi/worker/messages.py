"""What supervisor and child say to each other: one JSON object a line, over two pipes. Never pickle.

Supervisor to child: `Assignment`. Child to supervisor: `Ready` once, then for each assignment any number of `Progress`
and one `Done` or `Failed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest


class Fault(StrEnum):
    """Whose fault a failure is, which decides what becomes of the job."""

    INPUT = "input"  # the recording: failed at once
    MODEL = "model"  # ours: failed at once, and a dead letter
    UNAVAILABLE = "unavailable"  # the store or a model server is away: later again
    UNEXPECTED = "unexpected"  # a bug or want of memory: another attempt in a new child


@dataclass(frozen=True)
class Assignment:
    """Work on this job as this attempt; use `work_dir`, an empty folder that the supervisor removes."""

    job: Job
    work_dir: str


@dataclass(frozen=True)
class Ready:
    """The engine is warm."""

    engine: dict[str, Any]
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True)
class Progress:
    """How far the attempt got."""

    progress: float
    stage: str
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True)
class WorkFigures:
    """What the work on one assignment took, for the worker's metrics.

    Args:
        stage_seconds: by stage: download, inspect, decode, separate, encode, upload.
        batches: how often the engine was given how many segments at a time.
        store_failures: how often the store was away, by what was asked of it.
    """

    stage_seconds: dict[str, float] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)
    store_failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """All stems are in the store."""

    manifest: Manifest
    figures: WorkFigures = WorkFigures()
    kind: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """The attempt (or, before Ready, the start of the engine) came to nothing."""

    fault: Fault
    problem: Problem
    figures: WorkFigures = WorkFigures()
    kind: Literal["failed"] = "failed"


Reply = Ready | Progress | Done | Failed

_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
_ASSIGNMENT: TypeAdapter[Assignment] = TypeAdapter(Assignment)


def to_line(message: Reply | Assignment) -> bytes:
    """A message as one line of JSON."""
    adapter: TypeAdapter[Any] = _ASSIGNMENT if isinstance(message, Assignment) else _REPLY
    return adapter.dump_json(message) + b"\n"


def reply_from_line(line: bytes) -> Reply:
    """A child's message; ValueError when it is none."""
    return _REPLY.validate_json(line)


def assignment_from_line(line: bytes) -> Assignment:
    """A supervisor's message; ValueError when it is none."""
    return _ASSIGNMENT.validate_json(line)
