"""What a submit asks for: options from form fields or the query, checked against the models there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from divisi.audio.facts import AudioFacts
from divisi.bundles.fit_plan import FitRequest, fit_request_of, fitting_of, plan_fit
from divisi.bundles.roster import Voices, check_voices, parse_voices
from divisi.bundles.store import BundleStore
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.request import REPEATABLE, SeparationRequest, values_of


def read_options(form: dict[str, list[str]], query: Iterable[tuple[str, str]]) -> SeparationRequest:
    """Options from both places; the form goes before the query. One value given twice is refused.

    Raises:
        RequestValidationError: with a pointer to each field that is wrong.
    """
    in_query: dict[str, list[str]] = {}
    for name, value in query:
        in_query.setdefault(name, []).append(value)
    values: dict[str, Any] = {}
    problems: list[dict[str, Any]] = []
    for place, given in (("query", in_query), ("body", form)):
        for name, texts in given.items():
            if len(texts) > 1 and name not in REPEATABLE:
                problems.append({"loc": (place, name), "msg": "give this option once", "type": "repeated"})
            values[name] = values_of(texts) if name in REPEATABLE else texts[0]
    try:
        options = SeparationRequest.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            place = "body" if problem["loc"][0] in form else "query"
            problems.append({"loc": (place, *problem["loc"]), "msg": problem["msg"], "type": problem["type"]})
    if problems:
        raise RequestValidationError(problems)
    return options


def choose_models(options: SeparationRequest, bundles: BundleStore, default_model: str) -> list[ModelCard]:
    """Cards of the models asked for, each once, in order; every one must have the stems and voices asked for.

    Raises:
        InputError: `unknown-model`, `unknown-stem`, `unknown-voice`, `voices-not-supported`, `fit-not-supported`,
            `invalid-spot`; facts list what there is.
        ModelError: a model is there but damaged.
    """
    cards = []
    for model_id in dict.fromkeys(options.model or (default_model,)):
        try:
            card = bundles.get(model_id).card
        except NotFoundError as error:
            raise InputError(error.message, code="unknown-model", known=bundles.model_ids()) from error
        if card.fitting is None:
            _stems_in_order(card.id, options.stems, card.stems)
            if fit_request_of(options) != FitRequest():
                fitting_of(card)
        voices_for(card, options)
        cards.append(card)
    return cards


def wanted_stems(card: ModelCard, options: SeparationRequest, facts: AudioFacts) -> tuple[str, ...] | None:
    """The stems asked for, in the model's order, whatever order they were asked for in; None: all.

    Raises:
        InputError: `unknown-stem`; of a fitted model, whose stems depend on the recording, also all that `plan_fit`
            raises.
    """
    known = card.stems
    if card.fitting is not None:
        known = plan_fit(card, fit_request_of(options), facts.num_channels, facts.sample_rate).stems
    return _stems_in_order(card.id, options.stems, known) or None


def voices_for(card: ModelCard, options: SeparationRequest) -> Voices:
    """Who may sing, in the model's order; InputError (`unknown-voice`, `voices-not-supported`) if it cannot."""
    return check_voices(parse_voices(options.voices), card)


def _stems_in_order(model_id: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(
            f"{model_id} has no stem {unknown[0]!r}; it has {', '.join(known)}",
            code="unknown-stem",
            model=model_id,
            unknown=unknown,
            known=list(known),
        )
    return tuple(name for name in known if name in wanted)
