from __future__ import annotations

from typing import Any

import pytest
from tests.models.tiny_bundle import tiny_draft

from divisi.contract.errors import InputError
from divisi.models.plan import check_voices, parse_voices

QUARTET = ("soprano", "alto", "tenor", "bass")


def quartet(**changes: Any):  # type: ignore[no-untyped-def]
    return tiny_draft(**({"stems": QUARTET, "takes_roster": True} | changes))


def test_no_names_mean_all_and_auto_means_whoever_is_heard() -> None:
    assert parse_voices([]) is None
    assert parse_voices(["auto"]) == "auto"
    assert parse_voices(["alto", "soprano"]) == ("alto", "soprano")


def test_auto_beside_names_is_refused() -> None:
    with pytest.raises(InputError, match="alto, auto") as refused:
        parse_voices(["alto", "auto"])
    assert refused.value.code == "unknown-voice"


def test_voices_come_in_the_models_order_and_once() -> None:
    assert check_voices(("bass", "soprano", "bass"), quartet()) == ("soprano", "bass")
    assert check_voices(QUARTET, quartet()) == QUARTET
    assert check_voices("auto", quartet()) == "auto"


@pytest.mark.parametrize("takes_roster", [True, False])
def test_who_asks_for_nothing_gets_all(takes_roster: bool) -> None:
    assert check_voices(None, quartet(takes_roster=takes_roster)) is None


def test_an_unknown_voice_is_told_with_those_there_are() -> None:
    with pytest.raises(
        InputError, match="no voice 'tuba'; name some of soprano, alto, tenor, bass, or auto"
    ) as refused:
        check_voices(("alto", "tuba"), quartet())
    assert refused.value.code == "unknown-voice"
    assert refused.value.facts["known"] == [*QUARTET, "auto"]


def test_nobody_is_no_choir() -> None:
    with pytest.raises(InputError) as refused:
        check_voices((), quartet())
    assert refused.value.code == "unknown-voice"


@pytest.mark.parametrize("voices", ["auto", ("alto",), QUARTET])
def test_a_model_that_cannot_be_told_who_sings_says_so(voices: Any) -> None:
    with pytest.raises(InputError, match="tiny-duo takes no list of who sings") as refused:
        check_voices(voices, quartet(takes_roster=False))
    assert refused.value.code == "voices-not-supported"
