"""The table that every chaos script prints, and the exit code that goes with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deployment import Audit
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure: `bar` in words and `is_met`; None for a figure that is only noted."""

    name: str
    value: str
    bar: str = ""
    is_met: bool | None = None
    is_timed: bool = False


def exactly(name: str, value: int, wanted: int) -> Row:
    """A count that must be one number."""
    return Row(name, str(value), f"= {wanted}", value == wanted)


def at_most(name: str, seconds: float, limit: float) -> Row:
    """A duration that must stay within a limit."""
    return Row(name, f"{seconds:.2f} s", f"≤ {limit:g} s", seconds <= limit, is_timed=True)


def noted(name: str, value: Any) -> Row:
    """A figure without a bar."""
    return Row(name, f"{value:.2f}" if isinstance(value, float) else str(value))


def rows_of(audit: Audit, num_failed: int = 0) -> list[Row]:
    """What must hold after any cruelty; `num_failed` jobs were meant to fail."""
    return [
        noted("jobs accepted", audit.accepted),
        exactly("succeeded", audit.states["succeeded"], audit.accepted - num_failed),
        exactly("lost", audit.lost, 0),
        exactly("committed twice", audit.committed_twice, 0),
        exactly("stems missing or damaged", audit.broken_stems, 0),
        exactly("objects left by other attempts", audit.leftovers, 0),
        exactly("entries left in the streams", audit.stream_length, 0),
    ]


def report(title: str, rows: list[Row], *, is_busy: bool = False) -> int:
    """Prints the table. Returns the exit code: 1 when a bar is missed; on a busy machine no bar in seconds counts."""
    if is_busy:
        rows = [replace(row, bar="", is_met=None) if row.is_timed else row for row in rows]
    table = Table(title=title)
    for heading in ("figure", "value", "bar", ""):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for row in rows:
        verdict = {None: "", True: "met", False: "MISSED"}[row.is_met]
        table.add_row(row.name, row.value, row.bar, verdict)
    Console(width=100).print(table)
    return 1 if any(row.is_met is False for row in rows) else 0
