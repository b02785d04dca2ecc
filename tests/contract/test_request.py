"""What may be asked is written once: digests, arguments and forms follow from it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat
from divisi.contract.job import fingerprint_of
from divisi.contract.request import OPTIONS, RequestArguments, SeparationRequest, form_fields
from divisi.gateway.models import read_options
from divisi.models.plan import fit_request_of

# As version 0.1 made them of a recording with the digest `ab` for the model `chorus`: a key that was used then is good
# for 24 hours.
EARLIER: list[tuple[dict[str, Any], str]] = [
    ({}, "5d97932086126ac1fb9aa5c70c9ab7667135cb2f8ea5be8c75e77ce6e2701613"),
    (
        {"stem_format": "flac", "stems": ("b", "a", "a"), "include_residual": False, "lane": "batch"},
        "19ec595d5e5b126cd5637181237f4e1b294ce8f9948af1f5277ea02d32c96c3c",
    ),
    (
        {"voices": ("tenor", "alto"), "webhook_url": "https://x.example/", "file_name": "a"},
        "5aaddd82ed2d2652f320c4d7eb8c6a3b1cec41c6ca570a74f83621064546f086",
    ),
    (
        {"num_bases": 4, "seed": 0, "spots": ("flute:1", "cello:2")},
        "8086421ac1bdf5f0f99cd2bc2bfcefb3d705ca65c093f43dc495486c9cbe0859",
    ),
]


def fingerprint(asked: dict[str, Any], kind: type[SeparationRequest] = SeparationRequest) -> str:
    request = kind(**asked)
    return fingerprint_of("ab", ["chorus"], request, fit_request_of(request).to_dict())


@pytest.mark.parametrize(("asked", "digest"), EARLIER)
def test_a_request_has_the_fingerprint_that_version_0_1_gave_it(asked: dict[str, Any], digest: str) -> None:
    assert fingerprint(asked) == digest


def test_an_option_added_later_changes_no_fingerprint_until_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Larger(SeparationRequest):
        gain_db: float | None = None

    monkeypatch.setattr("divisi.contract.job.OPTIONS", Larger.model_fields)
    assert fingerprint({}, Larger) == EARLIER[0][1]
    assert fingerprint({"gain_db": 3.0}, Larger) != EARLIER[0][1]


def test_type_checkers_know_the_options_that_there_are() -> None:
    assert set(RequestArguments.__annotations__) == set(OPTIONS)


def test_what_a_client_writes_is_what_the_gateway_reads() -> None:
    asked = {
        "model": ["a", "b"],
        "stem_format": "flac",
        "voices": ("alto", "bass"),
        "include_residual": False,
        "lane": None,
        "stems": (),
        "num_bases": 4,
        "seed": 0,
        "spots": ["flute:1", "oboe:2"],
    }
    fields = {name: [text] for name, text in form_fields(asked).items()}
    assert not {"lane", "stems"} & set(fields)
    assert read_options(fields, []) == SeparationRequest(
        model=("a", "b"),
        stem_format="flac",
        voices=("alto", "bass"),
        include_residual=False,
        num_bases=4,
        seed=0,
        spots=("flute:1", "oboe:2"),
    )


def test_a_misspelt_option_is_refused_on_both_sides() -> None:
    with pytest.raises(TypeError, match=r"'stem_fromat'.*stem_format"):
        form_fields({"stem_fromat": "flac"})
    with pytest.raises(ValidationError):
        SeparationRequest.model_validate({"stem_fromat": "flac"})


def test_a_stem_format_is_known_by_its_name() -> None:
    assert SeparationRequest(stem_format="flac").encoding is StemFormat.FLAC
    with pytest.raises(InputError, match="wav16, wav24") as caught:
        assert SeparationRequest(stem_format="aac").encoding
    assert caught.value.code == "unsupported-stem-format"
