"""Keys are built from plain names only."""

from __future__ import annotations

import pytest

from divisi.contract.errors import InputError
from divisi.storage import names as keys


def test_everything_of_a_job_lies_below_its_prefix() -> None:
    prefix = keys.job_prefix("01ABC") + "/"
    names = [keys.mixture_key("01ABC"), keys.accepted_key("01ABC"), keys.stem_key("01ABC", 2, "alto.wav")]
    assert all(name.startswith(prefix) for name in names)
    assert keys.stem_key("01ABC", 2, "alto.wav") == "jobs/01ABC/attempts/2/alto.wav"
    assert keys.stem_key("01ABC", 2, "alto.wav").startswith(keys.attempt_prefix("01ABC", 2) + "/")


def test_two_attempts_never_share_a_file() -> None:
    assert keys.stem_key("01ABC", 1, "alto.wav") != keys.stem_key("01ABC", 11, "alto.wav")
    assert not keys.attempt_prefix("01ABC", 11).startswith(keys.attempt_prefix("01ABC", 1) + "/")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "a b", "é", "x" * 201])
def test_a_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        keys.job_prefix(name)
    with pytest.raises(InputError):
        keys.stem_key("01ABC", 1, name)
