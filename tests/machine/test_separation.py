"""Separation on this machine in one call, and what commands print for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

import divisi
from divisi.cli import terminal
from divisi.cli.app import app
from divisi.contract.errors import InputError
from divisi.sample import mixture_path


def test_one_call_separates_and_gives_the_stems(tmp_path: Path) -> None:
    shares: list[float] = []
    options: dict[str, Any] = {"model": "satb-small", "stems": ["alto", "bass"], "stem_format": "flac"}
    out = tmp_path / "stems"
    stems = divisi.separate(mixture_path(), out, on_progress=shares.append, include_residual=True, **options)
    assert stems == {name: out / f"{name}.flac" for name in ("alto", "bass", "residual")}
    assert {soundfile.info(path).frames for path in stems.values()} == {soundfile.info(mixture_path()).frames}
    assert shares[-1] == 1.0


def test_one_call_replaces_nothing_and_says_what_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "alto.wav").write_bytes(b"the singer's own")
    with pytest.raises(InputError, match=r"alto\.wav is there already"):
        divisi.separate(mixture_path(), tmp_path, model="satb-small")
    with pytest.raises(TypeError, match=r"no option 'voice'; known are .*voices"):
        divisi.separate(mixture_path(), tmp_path, voice="alto")
    with pytest.raises(InputError, match="is not a file"):
        divisi.separate(tmp_path / "none.wav", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["alto.wav"]


def test_what_a_run_made_is_printed_for_programs(tmp_path: Path) -> None:
    asked = ["-m", "satb-small", "--stems", "alto", "-o", str(tmp_path / "stems"), "--json"]
    done = CliRunner().invoke(app, ["separate", str(mixture_path()), *asked])
    assert done.exit_code == 0
    printed = json.loads(done.stdout)
    assert printed["problems"] == []
    (made,) = printed["done"]
    assert (made["folder"], made["files"]) == (str(tmp_path / "stems"), ["alto.wav"])
    refused = CliRunner().invoke(app, ["separate", str(tmp_path), "-o", str(tmp_path / "more"), "--json"])
    assert refused.exit_code == 2
    assert "no recordings" in json.loads(refused.stdout)["problems"][0]


def test_models_have_a_line_each_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    monkeypatch.setattr(terminal.console, "_width", 80)
    monkeypatch.setattr(terminal.console, "_force_terminal", True)
    lines = CliRunner().invoke(app, ["models"], color=False).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    shown = {line.split()[0]: line for line in lines[1 : 1 + len(cards)]}
    assert list(shown) == [card["id"] for card in cards]
    for card in cards:
        assert card["version"] in shown[card["id"]]
        assert f"{card['quality'][0]['mean']:.1f}" in shown[card["id"]]
