"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """GOOD; DOUBTFUL: it works, and something may bite later; BAD: jobs fail or get lost."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do unless it is good."""

    subject: str
    verdict: Verdict
    what: str
    remedy: str | None = None


def good(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.GOOD, what)


def doubtful(subject: str, what: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(subject, Verdict.DOUBTFUL, what, remedy)


def bad(subject: str, what: str, remedy: str) -> Finding:
    """It does not work, or loses jobs."""
    return Finding(subject, Verdict.BAD, what, remedy)
