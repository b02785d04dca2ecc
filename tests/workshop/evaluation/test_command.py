"""`divisi evaluate` as a person runs it, with a bundle that needs no artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from divisi.cli.app import app
from divisi.models.bundle import CARD_FILE, write_card, write_checksums
from divisi.separation.separator import Separator
from divisi.settings import load_settings

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    """A process reads its settings once."""
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_separator: Callable[..., Separator]) -> Run:
    """Runs the command with a model store that holds `no-model`."""
    card = make_separator().card
    folder = tmp_path / "models" / card.id / card.version
    folder.mkdir(parents=True)
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, [CARD_FILE])
    monkeypatch.setenv("DIVISI_MODEL_STORE", str(tmp_path / "models"))
    monkeypatch.setenv("DIVISI_ENGINE", "passthrough")
    return lambda *arguments: CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.mark.parametrize("way", ["whole", "excerpts"])
def test_it_prints_the_table_and_saves_the_figures(run: Run, data: Path, tmp_path: Path, way: str) -> None:
    out = tmp_path / "figures"
    whole = ["--whole"] if way == "whole" else []
    done = run("--models", "no-model", "--dataset", "nino_dios", "--data", data, "--out", out, *whole)
    assert done.exit_code == 0, done.output
    assert "SI-SDR in dB, Niño Dios, singer 4" in done.output
    figures = json.loads((out / "evaluation.json").read_text())
    assert figures["separated"] == way
    mixture, model, oracle = (system["frames"]["mean"] for system in figures["systems"])
    assert model == pytest.approx(mixture, abs=0.01)
    assert oracle > mixture + 5
    assert (out / "scores.csv").is_file()
    picture = (out / "boxes.svg").read_text()
    assert all(f"<!-- {name} -->" in picture for name in ("soprano", "bass", "mixture", "no-model 1.0.0"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--models", "no-model", "--dataset", "opera"], "opera"),
        (["--models", "no-model", "--dataset", "nino_dios"], "folder"),
        (["--models", "unheard-of"], "unheard-of"),
        (["--models", "no-model", "--voices", "alto"], "takes no list of who sings"),
    ],
    ids=["unknown data set", "no folder", "unknown model", "a model without rosters"],
)
def test_what_cannot_be_evaluated_gives_a_plain_error_and_exit_code_2(
    run: Run, arguments: list[str], complaint: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.output
