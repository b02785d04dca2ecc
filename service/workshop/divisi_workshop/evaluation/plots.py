"""An Evaluation as a picture: for each voice a panel, in it a box for each system, over the scores of 1 s frames."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from divisi_workshop.evaluation.evaluate import Evaluation
from divisi_workshop.evaluation.protocol import Stretch

PLOT_FILE = "boxes.svg"
_PANEL_WIDTH, _ROW_HEIGHT = 3.2, 0.32
_BOX = {"color": "#1f77b4"}


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
