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
# Heading of the section → title of the plot, lower end of the axis.
PLOTS = {
    "## Ablations": ("Held excerpts of singer 4, SI-SDR in dB", 7.0),
    "## Deciding pitches in context": ("Pitches decided in context: 14 chorales, SI-SDR in dB", 6.0),
    "## Where the rest is lost": ("Pitches and voicing given: 12 chorales, SI-SDR in dB", 8.0),
}
LABEL_WIDTH = 70


def rows(text: str, heading: str) -> list[tuple[str, float]]:
    """First column and first number of the first table under a heading."""
    table = text[text.index(heading) :].split("|---", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [(re.sub(r"[`*]", "", cell[0]), float(cell[1])) for cell in cells]


def main() -> None:
    text = (DOCS / "flagship.md").read_text()
    tables = [rows(text, heading) for heading in PLOTS]
    plt.rcParams.update({"svg.hashsalt": "divisi", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(10, 8), height_ratios=[len(table) for table in tables], layout="constrained"
    )
    for axis, table, (title, start) in zip(axes, tables, PLOTS.values(), strict=True):
        labels = [label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…" for label, _ in table]
        places = range(len(table))
        bars = axis.barh(places, [value for _, value in table], color="#4477aa")
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.set_yticks(places, labels)
        axis.invert_yaxis()
        axis.set_xlim(start, max(value for _, value in table) * 1.05)
        axis.set_title(title, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "flagship.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
