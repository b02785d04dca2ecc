"""What is trained on, made by one command: in small, without the speech synthesisers."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.speech_voices import analyse_speech, save_voice
from divisi_workshop.choirs.takes import load_resung

CHORALE = np.repeat([[72, 67, 60, 48], [74, 67, 59, 55]], 16, axis=0)


def test_one_command_makes_voices_and_choirs_and_goes_on_where_it_stopped(
    data_folders: tuple[Path, Path],
    make_tone: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = importlib.import_module("divisi_workshop.choirs.__main__")
    data = tmp_path / "data"
    (data / "chorales").mkdir(parents=True)
    (data / "nino_dios").symlink_to(data_folders[0] / "nino_dios")
    (data / "chorales" / "jsb_satb_16ths.json").write_text(json.dumps({"train": [CHORALE.tolist()]}))

    def make_voices(folder: Path, *_: object) -> None:
        save_voice(folder / "somebody.npz", analyse_speech(make_tone(150.0, 2.0)))

    monkeypatch.setattr(recipe, "make_voices", make_voices)
    monkeypatch.setattr(recipe, "SECONDS", 1.0)
    monkeypatch.setattr(recipe, "SINGERS", (1,))
    monkeypatch.setattr(recipe, "RECORDED", range(2))
    monkeypatch.setattr(recipe, "FORMANT", range(50_000, 50_001))
    monkeypatch.setattr(recipe, "WIDE", {"textures": range(150_000, 150_001), "speech": range(100_000, 100_001)})
    cache = tmp_path / "cache"
    shutil.copytree(data_folders[1], cache)  # with labels: making them takes longer than all the rest
    recipe.main(data, cache)
    choirs = load_resung(cache / "resung")
    numbers = {choir.parts[0][0].name.split("_")[1] for choir in choirs}
    assert numbers == {"00000", "00001", "50000", "100000", "150000"}
    assert all(choir.seconds == pytest.approx(1.0, abs=0.01) for choir in choirs)

    first = cache / "resung" / "choir_00000.npz"
    kept = (cache / "resung" / "choir_00001.npz").stat().st_mtime_ns
    before = first.read_bytes()
    first.unlink()
    recipe.main(data, cache)
    assert first.read_bytes() == before
    assert (cache / "resung" / "choir_00001.npz").stat().st_mtime_ns == kept
