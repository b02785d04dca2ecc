"""The page of an exported comparison: voices down, systems across, a player in every cell.

It is opened from disk, where browsers load neither modules nor data: plain HTML with the service's style sheet beside
it, waveforms drawn in, and a few lines of script that let only one player sound at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

STYLE_NAME = "style.css"
# Each voice has the colour that it has on the service's own page (`page/dom.js`).
_NAMED = ("soprano", "alto", "tenor", "bass")
_NUM_COLOURS = 8
_HEIGHT = 60

Wave = Sequence[tuple[int, int]]
"""Least and most of each stretch, -127 to 127."""


@dataclass(frozen=True)
class Cell:
    """One player: where its file is beside the page, what it reaches, what it looks like."""

    path: str
    decibels: float | None = None
    is_best: bool = False
    wave: Wave = ()


@dataclass(frozen=True)
class Column:
    """One system, or the true sources: its title, and what is to be said of it below."""

    title: str
    mean_decibels: float | None = None
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One voice, or the mixture sung again; None where a system has nothing."""

    name: str
    colour: str
    cells: Sequence[Cell | None]


def title_of(name: str) -> str:
    """A stem's name as people write it."""
    words = name.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def colour_of(name: str, place: int) -> str:
    """End of the style sheet's class of a voice."""
    first = name.replace("_", "-").split("-")[0].rstrip("0123456789")
    return str(_NAMED.index(first) if first in _NAMED else place % _NUM_COLOURS)


def comparison_page(
    title: str, facts: str, recording: Cell | None, columns: Sequence[Column], rows: Sequence[Row]
) -> str:
    """The HTML. All texts come from people and are escaped."""
    head = "".join(f'<th scope="col">{escape(column.title)}{_mean(column)}</th>' for column in columns)
    body = "".join(_row(row, columns) for row in rows)
    about = "".join(
        f"<dt>{escape(column.title)}</dt><dd>{escape(column.about)}</dd>" for column in columns if column.about
    )
    whole = ""
    if recording is not None:
        whole = f'<section class="whole voice-rest"><h2>The recording</h2>{_cell(recording, "The recording")}</section>'
    script = files("divisi.gateway").joinpath("comparison_page.js").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="stylesheet" href="{STYLE_NAME}">
</head>
<body>
<main class="compare">
<h1>{escape(title)}</h1>
<p class="facts">{escape(facts)}</p>
{whole}
<div class="scroller" tabindex="0" role="region" aria-label="Voices and systems">
<table class="comparison" style="min-width: {7 + 12 * len(columns)}rem">
<thead><tr><th scope="col">Voice</th>{head}</tr></thead>
<tbody>{body}</tbody>
</table>
</div>
<section><h2>Systems</h2><dl>{about}</dl></section>
</main>
<script>{script}</script>
</body>
</html>
"""


def _mean(column: Column) -> str:
    return "" if column.mean_decibels is None else f"<small>mean {column.mean_decibels:.1f} dB</small>"


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = "".join(
        "<td>–</td>" if cell is None else f"<td>{_cell(cell, f'{row.name}, {column.title}')}</td>"
        for cell, column in zip(row.cells, columns, strict=True)
    )
    return f'<tr class="voice-{row.colour}"><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _cell(cell: Cell, label: str) -> str:
    figure = ""
    if cell.decibels is not None:
        best = " best" if cell.is_best else ""
        figure = f'<span class="figure{best}">{cell.decibels:.1f} dB</span>'
    player = f'<audio controls preload="metadata" src="{escape(cell.path)}" aria-label="{escape(label)}"></audio>'
    return f'<div class="cell">{figure}{_drawing(cell.wave)}{player}</div>'


def _drawing(wave: Wave) -> str:
    if not wave:
        return ""
    scale = _HEIGHT / 2 / 127
    lines = (
        f"M{x} {_HEIGHT / 2 - high * scale:.0f}v{max(1, (high - low) * scale):.0f}"
        for x, (low, high) in enumerate(wave)
    )
    box = f"0 0 {len(wave)} {_HEIGHT}"
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true"><path d="{"".join(lines)}"/></svg>'
