"""Outputs and signatures that a card does not foresee are refused; no real graph is needed to say so."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.tiny_bundle import HOP, tiny_draft

from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError
from divisi.models.agreement import check_outputs, check_signature, signature_of, silence

HOPS = 10
LENGTH = HOPS * HOP


def card(**changes: object) -> ModelCard:
    return ModelCard.model_validate(tiny_draft(**changes).model_dump())


def outputs() -> dict[str, np.ndarray]:
    """Good outputs for a mixture of shape (2, 1, LENGTH)."""
    return {
        "estimates": np.zeros((2, 2, 1, LENGTH), np.float32),
        "f0": np.zeros((2, 2, HOPS + 1), np.float32),
        "resynthesis": np.zeros((2, 1, LENGTH), np.float32),
    }


@pytest.mark.parametrize("num_frames", [HOPS, HOPS + 1])
def test_f0_may_have_a_frame_for_the_end_of_the_last_hop(num_frames: int) -> None:
    good = outputs() | {"f0": np.zeros((2, 2, num_frames), np.float32)}
    assert check_outputs(good, (2, 1, LENGTH), card())["f0"].shape == (2, 2, num_frames)


def test_outputs_with_strides_become_contiguous() -> None:
    strided = np.zeros((2, 2, 1, 2 * LENGTH), np.float32)[..., ::2]
    checked = check_outputs(outputs() | {"estimates": strided}, (2, 1, LENGTH), card())
    assert checked["estimates"].flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("estimates", (2, 2, 1, LENGTH - 1)),
        ("estimates", (2, 2, LENGTH)),
        ("estimates", (1, 2, 1, LENGTH)),
        ("estimates", (2, 3, 1, LENGTH)),
        ("f0", (2, 2, HOPS + 2)),
        ("f0", (2, 2, HOPS - 1)),
        ("f0", (2, 1, HOPS)),
        ("resynthesis", (2, 2, LENGTH)),
    ],
)
def test_an_output_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=f"tiny-duo: {name}") as refused:
        check_outputs(outputs() | {name: np.zeros(shape, np.float32)}, (2, 1, LENGTH), card())
    assert refused.value.code == "wrong-output"


@pytest.mark.parametrize(("num_frames", "is_good"), [(HOPS, True), (HOPS + 1, True), (HOPS + 2, False)])
def test_voicing_has_the_frames_of_f0(num_frames: int, is_good: bool) -> None:
    extra = [{"name": "f0", "hop_length": HOP}, {"name": "voicing", "hop_length": HOP}]
    given = {**outputs(), "voicing": np.ones((2, 2, num_frames), np.float32)}
    if is_good:
        assert list(check_outputs(given, (2, 1, LENGTH), card(extra_outputs=extra))) == ["estimates", "f0", "voicing"]
        return
    with pytest.raises(ModelError, match="voicing has") as refused:
        check_outputs(given, (2, 1, LENGTH), card(extra_outputs=extra))
    assert refused.value.code == "wrong-output"


@pytest.mark.parametrize(("shape", "is_good"), [((2, 2), True), ((2, 3), False), ((2, 2, 1), False)])
def test_presence_is_one_number_a_voice(shape: tuple[int, ...], is_good: bool) -> None:
    extra = [{"name": "presence"}]
    given = {"estimates": outputs()["estimates"], "presence": np.ones(shape, np.float32)}
    if is_good:
        assert list(check_outputs(given, (2, 1, LENGTH), card(extra_outputs=extra))) == ["estimates", "presence"]
        return
    with pytest.raises(ModelError, match="presence is"):
        check_outputs(given, (2, 1, LENGTH), card(extra_outputs=extra))


def test_a_roster_is_part_of_the_signature_of_models_that_take_one() -> None:
    assert list(signature_of(card())["inputs"]) == ["mixture"]
    assert signature_of(card(takes_roster=True))["inputs"] == {"mixture": (None, 1, None), "roster": (None, 2)}


def test_an_output_of_another_type_is_refused() -> None:
    with pytest.raises(ModelError, match="float16"):
        check_outputs(outputs() | {"f0": np.zeros((2, 2, HOPS), np.float16)}, (2, 1, LENGTH), card())


@pytest.mark.parametrize("name", ["estimates", "f0", "resynthesis"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_is_enough_to_refuse(name: str, value: float) -> None:
    bad = outputs()
    bad[name].flat[-1] = value
    with pytest.raises(ModelError, match=name) as refused:
        check_outputs(bad, (2, 1, LENGTH), card())
    assert refused.value.code == "non-finite-estimates"


def test_a_signature_may_leave_any_size_open() -> None:
    check_signature({"mixture": ["B", None, "T"]}, {"estimates": ["B", 2, 1, "T"]}, card(extra_outputs=()))


@pytest.mark.parametrize(
    ("inputs", "estimates"),
    [
        ({"audio": ["B", 1, "T"]}, ["B", 2, 1, "T"]),
        ({"mixture": ["B", 1, "T"], "level": [1]}, ["B", 2, 1, "T"]),
        ({"mixture": ["B", "T"]}, ["B", 2, 1, "T"]),
        ({"mixture": ["B", 2, "T"]}, ["B", 2, 1, "T"]),
        ({"mixture": ["B", 1, "T"]}, ["B", 3, 1, "T"]),
        ({"mixture": ["B", 1, "T"]}, ["B", 2, "T"]),
    ],
)
def test_a_signature_that_differs_in_name_rank_or_size_is_refused(
    inputs: dict[str, list[int | str | None]], estimates: list[int | str | None]
) -> None:
    with pytest.raises(ModelError, match="the card says") as refused:
        check_signature(inputs, {"estimates": estimates}, card(extra_outputs=()))
    assert refused.value.code == "wrong-signature"


def test_a_card_for_any_number_of_channels_leaves_it_open() -> None:
    signature = signature_of(card(num_channels="any"))
    assert signature["inputs"] == {"mixture": (None, None, None)}
    assert signature["outputs"]["estimates"] == (None, 2, None, None)


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"segment_length": 40 * HOP}, 40 * HOP),
        ({"segment_length": 400 * HOP}, 8000),
        ({"segment_length": "whole", "context_length": 0}, 8000),
        ({"segment_length": 81 * 300, "context_length": 0, "length_multiple": 300}, 8100),
    ],
)
def test_silence_lasts_a_second_or_a_segment_and_is_a_length_the_graph_takes(
    changes: dict[str, object], length: int
) -> None:
    assert silence(card(**changes)).shape == (1, 1, length)
