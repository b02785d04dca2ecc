"""Figures of an evaluation on their way into a card: only those of the same model and version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from divisi.contract.card import CardDraft
from divisi.contract.errors import InputError
from divisi_workshop.export.model_card import read_quality

DRAFT = CardDraft(
    id="duet",
    version="1.2.0",
    title="t",
    description="d",
    stem_family="duet",
    stems=("high", "low"),
    sample_rate=16_000,
    segment_length=1_024,
)


def write_evaluation(folder: Path, system: str = "duet 1.2.0") -> Path:
    def figures(mean: float) -> dict[str, object]:
        return {"count": 9, "mean": mean, "median": mean + 1, "per_voice": {"high": mean + 0.004, "low": mean}}

    systems = [
        {"system": name, "frames": figures(mean), "excerpts": figures(mean + 2)}
        for name, mean in (("mixture", -5.0), (system, 6.0))
    ]
    path = folder / "evaluation.json"
    content = {"dataset": "a set", "metric": "SI-SDR in dB", "separated": "whole", "systems": systems}
    path.write_text(json.dumps(content))
    return path


def test_both_kinds_of_stretch_come_with_the_mixture_beside_them(tmp_path: Path) -> None:
    frames, excerpts = read_quality(write_evaluation(tmp_path), DRAFT)
    assert (frames.mean, frames.mixture_mean, frames.per_stem) == (6.0, -5.0, {"high": 6.0, "low": 6.0})
    assert (excerpts.mean, excerpts.mixture_mean) == (8.0, -3.0)
    assert frames.protocol == "1 s frames, the recording separated in one go; mean of 9, median 7.00"


@pytest.mark.parametrize("system", ["duet 1.1.0", "trio 1.2.0"])
def test_the_figures_of_another_model_are_refused(tmp_path: Path, system: str) -> None:
    with pytest.raises(InputError, match=r"no evaluation of duet 1\.2\.0"):
        read_quality(write_evaluation(tmp_path, system), DRAFT)


def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match="no evaluation"):
        read_quality(path, DRAFT)
