"""An Evaluation as a table for the terminal, as JSON (summary) and CSV (every score)."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Column, Table
from rich.text import Text

from divisi_workshop.evaluation.datasets import Stretch
from divisi_workshop.evaluation.evaluate import Evaluation, SystemScores

_STRETCHES = {Stretch.FRAME: "1 s frames", Stretch.EXCERPT: "4 s excerpts"}
PLOT_FILE = "boxes.svg"
_PANEL_WIDTH, _ROW_HEIGHT = 3.2, 0.32
_BOX = {"color": "#1f77b4"}


@dataclass(frozen=True)
class Summary:
    """Scores of one system over all stretches of one kind, in dB; None where nothing was scored.

    Attributes:
        count: how many scores, silence left out.
        mean, median: over all voices and stretches pooled.
        per_voice: mean of each voice.
    """

    count: int
    mean: float | None
    median: float | None
    per_voice: dict[str, float | None]


def summarise(system: SystemScores, stretch: Stretch, voices: tuple[str, ...]) -> Summary:
    """Pools one system's scores."""
    scores = [score for score in system.scores if score.stretch == stretch]
    values = [score.si_sdr_db for score in scores]
    return Summary(
        count=len(values),
        mean=_mean(values),
        median=float(np.median(values)) if values else None,
        per_voice={voice: _mean([score.si_sdr_db for score in scores if score.voice == voice]) for voice in voices},
    )


def make_table(evaluation: Evaluation) -> Table:
    """One row per system and kind of stretch, one column per voice, mean and median of all."""
    way = "recording separated in one go" if evaluation.is_whole else "each excerpt separated by itself"
    title = f"SI-SDR in dB, {evaluation.dataset}, {way}"
    # Fits into 80 columns: of what is too wide, names fold, never figures.
    table = Table(Column("system", overflow="fold"), title=title, box=SIMPLE, show_edge=False, padding=0)
    for heading in (*evaluation.voices, "mean", "median", "scores", "real-time\nfactor"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stretch, label in _STRETCHES.items():
        table.add_row(Text(label, style="bold"))
        for system in evaluation.systems:
            summary = summarise(system, stretch, evaluation.voices)
            figures = [_show(value) for value in (*summary.per_voice.values(), summary.mean, summary.median)]
            speed = "" if system.real_time_factor is None else f"{system.real_time_factor:.3f}"
            table.add_row(system.system, *figures, str(summary.count), speed)
        table.add_section()
    return table


def save(evaluation: Evaluation, out: Path) -> None:
    """Writes `evaluation.json` and `scores.csv` into a folder, made if missing."""
    out.mkdir(parents=True, exist_ok=True)
    way = "whole" if evaluation.is_whole else "excerpts"
    summaries = [
        {"system": system.system, "real_time_factor": system.real_time_factor}
        | {f"{stretch}s": asdict(summarise(system, stretch, evaluation.voices)) for stretch in Stretch}
        for system in evaluation.systems
    ]
    content = {"dataset": evaluation.dataset, "metric": "SI-SDR in dB", "separated": way, "systems": summaries}
    (out / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with (out / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["system", "stretch", "start_seconds", "voice", "si_sdr_db"])
        for system in evaluation.systems:
            for score in system.scores:
                row = (score.stretch, f"{score.start_seconds:.3f}", score.voice, f"{score.si_sdr_db:.4f}")
                writer.writerow([system.system, *row])


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def plot_boxes(evaluation: Evaluation, out: Path) -> Path:
    """Writes `boxes.svg` into a folder that exists: quartiles, whiskers from the 5th to the 95th percentile, and a
    point for the mean.
    """
    systems, voices = evaluation.systems[::-1], evaluation.voices
    figure = Figure(figsize=(_PANEL_WIDTH * len(voices) + 1.5, _ROW_HEIGHT * len(systems) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(voices), sharex=True, sharey=True, squeeze=False)[0]
    for panel, voice in zip(panels, voices, strict=True):
        values = [
            [score.si_sdr_db for score in system.scores if score.voice == voice and score.stretch == Stretch.FRAME]
            for system in systems
        ]
        panel.boxplot(
            values,
            orientation="horizontal",
            whis=(5, 95),
            showfliers=False,
            showmeans=True,
            tick_labels=[system.system for system in systems],
            boxprops=_BOX,
            meanprops={"marker": ".", "markerfacecolor": "black", "markeredgecolor": "black"},
        )
        panel.set_title(voice)
        panel.set_xlabel("SI-SDR in dB")
        panel.grid(axis="x", linewidth=0.3)
    figure.suptitle(f"{evaluation.dataset}, 1 s frames")
    path = out / PLOT_FILE
    figure.savefig(path)
    return path
