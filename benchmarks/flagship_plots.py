"""The tables of docs/flagship.md as one picture, docs/flagship.svg.

    python benchmarks/flagship_plots.py

The page's tables are the only source: change a figure there and run this again.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
# Heading of the section → title of the plot, lower end of the axis, column of its first table.
PLOTS = {
    "## `chorus` 1.6.0": ("What to expect of chorus 1.6.0, SI-SDR in dB", -1.0, 5),
    "## Ablations": ("Held excerpts of singer 4, SI-SDR in dB", 7.0, 1),
    "## Deciding pitches in context": ("Pitches decided in context: 14 chorales, SI-SDR in dB", 6.0, 1),
    "## Where the rest is lost": ("Pitches and voicing given: 12 chorales, SI-SDR in dB", 7.5, 1),
}
LABEL_WIDTH = 70


def rows(text: str, heading: str, column: int) -> list[tuple[str, float]]:
    """First column and another of the first table under a heading."""
    table = text[text.index(heading) :].split("|---", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [(re.sub(r"[`*]", "", cell[0]), float(cell[column].replace("−", "-"))) for cell in cells]


def main() -> None:
    text = (DOCS / "flagship.md").read_text()
    tables = [rows(text, heading, column) for heading, (_, _, column) in PLOTS.items()]
    plt.rcParams.update({"svg.hashsalt": "divisi", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(10, 12), height_ratios=[len(table) for table in tables], layout="constrained"
    )
    for axis, table, (title, start, _) in zip(axes, tables, PLOTS.values(), strict=True):
        labels = [label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…" for label, _ in table]
        places = range(len(table))
        bars = axis.barh(places, [value for _, value in table], color="#4477aa")
        axis.bar_label(bars, fmt="%g", padding=3)
        axis.set_yticks(places, labels)
        axis.invert_yaxis()
        axis.set_xlim(start, max(value for _, value in table) * 1.05)
        axis.set_title(title, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "flagship.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
