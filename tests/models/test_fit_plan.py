"""What a request of a fitted model means for one recording, and what is refused with which values."""

from __future__ import annotations

from typing import Any

import pytest

from divisi.contract.card import Fitting, ModelCard
from divisi.contract.errors import InputError
from divisi.models.plan import FitRequest, Spot, fit_request_from, parse_spots, plan_fit

QUINTET = ("flute", "clarinet", "cello", "violin_1", "violin_2")


def card(stems: tuple[str, ...] = ("source_1", "source_2"), **fitting: Any) -> ModelCard:
    stated = {"algorithm": "fastmnmf2", "num_sources": 2, "num_bases": 4, "num_iterations": 10, "fft_length": 4096}
    return ModelCard(
        id="fitted",
        version="1.0.0",
        title="Fitted",
        description="For tests.",
        stem_family="any",
        stems=stems,
        sample_rate=44_100,
        num_channels="any",
        segment_length="whole",
        fitting=Fitting(**{**stated, "initialisation": "spots", **fitting}),
    )


def quintet() -> ModelCard:
    return card(QUINTET, num_sources=5, stems_have_spots=True)


def refusal(model: ModelCard, request: FitRequest, num_channels: int) -> InputError:
    with pytest.raises(InputError) as caught:
        plan_fit(model, request, num_channels, 44_100)
    return caught.value


def test_what_is_not_asked_is_as_the_card_says() -> None:
    plan = plan_fit(card(), None, 3, 44_100)
    assert plan.stems == ("source_1", "source_2")
    assert (plan.num_bases, plan.num_iterations, plan.fft_length, plan.seed) == (4, 10, 4096, 0)
    assert plan.initialisation == "two_step"  # no spots are known


def test_the_first_channels_are_the_stems_spots_where_the_card_says_so() -> None:
    plan = plan_fit(quintet(), None, 8, 48_000)
    assert plan.stems == QUINTET
    assert plan.spot_channels == (0, 1, 2, 3, 4)
    assert plan.initialisation == "spots"


def test_spots_name_the_stems_and_the_rest_is_numbered() -> None:
    request = FitRequest(num_sources=4, spots=(Spot("viola", 3), Spot("source_1", 1)))
    plan = plan_fit(card(), request, 4, 44_100)
    assert plan.stems == ("viola", "source_1", "source_2", "source_3")
    assert plan.spot_channels == (2, 0, None, None)


def test_ilrma_has_as_many_sources_as_microphones() -> None:
    ilrma = card(algorithm="ilrma", num_sources=None)
    assert plan_fit(ilrma, None, 3, 44_100).num_sources == 3
    assert not plan_fit(ilrma, None, 3, 44_100).learns_gains
    assert refusal(ilrma, FitRequest(num_sources=2), 3).code == "invalid-fit-option"


@pytest.mark.parametrize(
    ("sample_rate", "fft_length"), [(48_000, 4096), (16_000, 2048), (22_050, 2048), (96_000, 8192)]
)
def test_windows_last_as_long_at_other_rates(sample_rate: int, fft_length: int) -> None:
    assert plan_fit(card(), None, 2, sample_rate).fft_length == fft_length


@pytest.mark.parametrize(
    ("request_", "num_channels", "code", "facts"),
    [
        (FitRequest(), 1, "too-few-channels", {"num_channels": 1, "least": 2}),
        (FitRequest(num_sources=5), 4, "too-many-sources", {"num_sources": 5, "limit": 4}),
        (FitRequest(spots=(Spot("flute", 9),)), 8, "invalid-spot", {"channel": 9, "num_channels": 8}),
        (FitRequest(spots=(Spot("flute", 1), Spot("oboe", 1))), 8, "invalid-spot", {}),
        (FitRequest(spots=(Spot("flute", 1), Spot("flute", 2))), 8, "invalid-spot", {}),
        (FitRequest(num_sources=1, spots=(Spot("a", 1), Spot("b", 2))), 8, "invalid-spot", {"num_spots": 2}),
        (FitRequest(initialisation="spots"), 4, "invalid-spot", {}),
        (FitRequest(fft_length=3000), 4, "invalid-fit-option", {"value": 3000}),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_values(
    request_: FitRequest, num_channels: int, code: str, facts: dict[str, int]
) -> None:
    error = refusal(card(), request_, num_channels)
    assert error.code == code
    assert facts.items() <= error.facts.items()


@pytest.mark.parametrize(("asked", "limit"), [({"num_iterations": 0}, "1"), ({"num_sources": 17}, "16")])
def test_a_number_beyond_the_contracts_limits_makes_no_request(asked: dict[str, int], limit: str) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(asked))}\n.* equal to {limit} "):
        FitRequest(**asked)


def test_a_trained_model_takes_no_such_options() -> None:
    trained = card().model_copy(update={"fitting": None})
    assert refusal(trained, FitRequest(), 2).code == "fit-not-supported"


def test_spots_are_read_from_text() -> None:
    assert parse_spots(["flute:1", " violin_2:5"]) == (Spot("flute", 1), Spot("violin_2", 5))


@pytest.mark.parametrize(
    "text", ["flute", "flute:0", "flute:x", ":1", "Flute:1", "residual:1", "a b:1", "flute:-1", ""]
)
def test_text_that_names_no_spot_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="spot"):
        parse_spots([text])


def test_a_request_survives_its_way_through_a_job() -> None:
    request = FitRequest(num_sources=3, seed=7, initialisation="circular", spots=(Spot("flute", 1),))
    assert fit_request_from(request.to_dict()) == request
    assert FitRequest().to_dict() == {}
