"""The fixed list of validation choirs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import valid_choirs
from benchmarks.valid_choirs import SECONDS, ValidChoir, draw_list, load_list, pitches, render

from divisi_workshop.choirs.melodies import FRAME_RATE, REST
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Part
from divisi_workshop.choirs.world_voices import analyse_singer

LIST = Path(__file__).parents[3] / "benchmarks" / "syn_valid.json"
PLAIN = ValidChoir(0, 8, 0.5, 2, 50.0, (0, 0, 0, 0), 1)
CHORALE = np.array([70, 65, 58, 50]) + (np.arange(128)[:, None] // 4) % 3


def test_the_committed_list_has_every_chorale_once_and_a_third_of_it_staggered() -> None:
    choirs = load_list(LIST)
    assert [choir.chorale for choir in choirs] == list(range(76))
    assert sum(any(choir.late_quarters) for choir in choirs) == 23
    assert all(0 <= late < 8 for choir in choirs for late in choir.late_quarters)
    assert len({choir.seed for choir in choirs}) == 76


def test_a_drawn_list_is_a_function_of_its_seed() -> None:
    assert draw_list([CHORALE] * 5, 1) == draw_list([CHORALE] * 5, 1)
    assert draw_list([CHORALE] * 5, 1) != draw_list([CHORALE] * 5, 2)


@pytest.mark.parametrize("options", [{"listed": LIST}, {"seed": 77, "count": 2}])
def test_a_list_or_another_draw_is_rendered_once(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chorales = [CHORALE] * 76
    rendered: list[ValidChoir] = []

    def pretend(choir: ValidChoir, chorale: np.ndarray, singers: list[str]) -> tuple[np.ndarray, np.ndarray]:
        assert singers == list(VOICES)
        rendered.append(choir)
        return np.full((4, 80), 0.1), np.zeros((4, 1))

    monkeypatch.setattr(valid_choirs, "load_chorales", lambda path, split: chorales)
    monkeypatch.setattr(valid_choirs, "recorded_singers", lambda *folders: [[voice] for voice in VOICES])
    monkeypatch.setattr(valid_choirs, "render", pretend)
    for _ in range(2):
        valid_choirs.main(tmp_path, tmp_path, tmp_path / "out", **options)
    assert rendered == (load_list(LIST) if "listed" in options else draw_list(chorales, 77)[:2])
    assert len(list((tmp_path / "out").glob("*.npz"))) == len(rendered)


def test_a_choir_starts_where_it_says_transposed_as_it_says() -> None:
    midi = pitches(PLAIN, CHORALE)
    assert midi.shape == (4, round(SECONDS * FRAME_RATE))
    assert midi[:, 0] == pytest.approx(CHORALE[8] + 2.5)
    assert midi[:, round(0.5 * FRAME_RATE)] == pytest.approx(CHORALE[12] + 2.5)


def test_a_late_voice_sings_what_it_sang_beats_ago_and_rests_before_its_beginning() -> None:
    late = pitches(ValidChoir(0, 8, 0.5, 2, 50.0, (0, 1, 2, 5), 1), CHORALE)
    together = pitches(PLAIN, CHORALE)
    beat = round(0.5 * FRAME_RATE)
    assert np.array_equal(late[0], together[0])
    assert np.array_equal(late[1, beat:], together[1, :-beat])
    assert (late[3, : 3 * beat] == REST).all()
    assert late[3, 3 * beat] == pytest.approx(CHORALE[0, 3] + 2.5)


def test_a_rendering_is_always_the_same(make_part: Callable[..., Part], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valid_choirs, "SECONDS", 1.0)
    singers = [analyse_singer(make_part(voice, 1.0)) for voice in VOICES]
    (first, f0_hz), (second, _) = (render(PLAIN, CHORALE, singers) for _ in range(2))
    assert first.shape == (4, SAMPLE_RATE)
    assert f0_hz.shape == (4, FRAME_RATE)
    assert np.array_equal(first, second)
