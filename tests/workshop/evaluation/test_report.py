"""Figures as they are shown and saved, from scores made by hand."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from divisi_workshop.evaluation.datasets import Score, Stretch
from divisi_workshop.evaluation.evaluate import Evaluation, SystemScores
from divisi_workshop.evaluation.report import make_table, save, summarise

VOICES = ("high", "low", "mute")
SCORES = (
    Score(Stretch.FRAME, 0.0, "high", 1.0),
    Score(Stretch.FRAME, 1.0, "high", 2.0),
    Score(Stretch.FRAME, 0.0, "low", 9.0),
    Score(Stretch.EXCERPT, 0.0, "low", 7.5),
)
EVALUATION = Evaluation("hands", VOICES, True, (SystemScores("trio 1.0.0", SCORES, 0.25),))


def shown(evaluation: Evaluation) -> str:
    """What a terminal of 80 columns shows."""
    screen = StringIO()
    Console(file=screen, width=80).print(make_table(evaluation))
    return screen.getvalue()


def test_mean_and_median_pool_all_voices_of_one_kind_of_stretch() -> None:
    summary = summarise(EVALUATION.systems[0], Stretch.FRAME, VOICES)
    assert (summary.count, summary.mean, summary.median) == (3, pytest.approx(4.0), 2.0)
    assert summary.per_voice == {"high": 1.5, "low": 9.0, "mute": None}


def test_saved_files_hold_the_summary_and_every_score(tmp_path: Path) -> None:
    save(EVALUATION, tmp_path / "new" / "folder")
    content = json.loads((tmp_path / "new" / "folder" / "evaluation.json").read_text())
    assert (content["dataset"], content["separated"]) == ("hands", "whole")
    (system,) = content["systems"]
    assert (system["system"], system["real_time_factor"]) == ("trio 1.0.0", 0.25)
    assert system["frames"]["mean"] == pytest.approx(4.0)
    assert system["excerpts"] == {
        "count": 1,
        "mean": 7.5,
        "median": 7.5,
        "per_voice": {"high": None, "low": 7.5, "mute": None},
    }
    with (tmp_path / "new" / "folder" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["stretch"], row["voice"], float(row["si_sdr_db"])) for row in rows] == [
        (score.stretch, score.voice, score.si_sdr_db) for score in SCORES
    ]


def test_the_table_shows_both_kinds_of_stretch_and_a_dash_for_a_silent_voice() -> None:
    frames, excerpts = (line.split() for line in shown(EVALUATION).splitlines() if "trio" in line)
    assert frames == ["trio", "1.0.0", "1.50", "9.00", "–", "4.00", "2.00", "3", "0.250"]
    assert excerpts == ["trio", "1.0.0", "–", "7.50", "–", "7.50", "7.50", "1", "0.250"]


def test_no_figure_is_cut_on_a_narrow_terminal() -> None:
    voices = ("soprano", "alto", "tenor", "bass")
    scores = tuple(Score(Stretch.FRAME, 0.0, voice, -10.25 - place) for place, voice in enumerate(voices))
    system = SystemScores("unet-satb-efficient 1.2.0", scores, 0.052)
    text = shown(Evaluation("sample chorale, formant voices", voices, False, (system,)))
    for figure in ("-10.25", "-11.25", "-12.25", "-13.25", "-11.75", "0.052", "soprano", "median", "factor"):
        assert figure in text
    assert "…" not in text
