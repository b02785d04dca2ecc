from __future__ import annotations

import pytest

from divisi.contract.errors import InputError
from divisi.separation.separator import SeparationOptions

STEMS = ("soprano", "alto", "tenor", "bass")


def test_all_stems_are_wanted_unless_some_are_named() -> None:
    assert SeparationOptions().indices(STEMS) == [0, 1, 2, 3]


def test_stems_come_in_the_models_order_and_once() -> None:
    assert SeparationOptions(stems=("bass", "alto", "bass")).indices(STEMS) == [1, 3]


def test_an_unknown_stem_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no stem 'tuba'; it has soprano, alto, tenor, bass") as raised:
        SeparationOptions(stems=("alto", "tuba")).indices(STEMS)
    assert raised.value.code == "unknown-stem"
