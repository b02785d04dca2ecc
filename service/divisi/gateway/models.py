"""Models: their cards over HTTP, which of them can be run now, and whether they have what a submit asks for.

Those that are fitted to the recording need a worker with torch, and not all have it. Workers say in the roll call what
they can do. A job that none of them could run is refused before its recording is examined; while no worker is known,
jobs wait for one, as all jobs do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from divisi.audio.recording import AudioFacts
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError, NotFoundError, UnavailableError
from divisi.contract.request import REPEATABLE, SeparationRequest, values_of
from divisi.gateway.dependencies import GatewayServices, Services
from divisi.gateway.openapi import problems
from divisi.models.bundle import BundleStore
from divisi.models.plan import FitRequest, Voices, check_voices, fit_request_of, fitting_of, parse_voices, plan_fit
from divisi.queue.worker_side import WorkerStatus

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelBody(ModelCard):
    """The card of a model, and whether it can be run now."""

    needs: list[str] = Field(description="Extras that a worker must have to run it.", examples=[["torch"]])
    is_offered: bool | None = Field(
        description="False: no worker at work can run it, jobs for it are refused (`no-worker-for-model`); "
        "null: not known yet, or no worker is known; jobs wait for one."
    )


class ModelListBody(BaseModel):
    """The newest version of every model that this service runs."""

    models: list[ModelBody]
    default_model: str = Field(description="Used when a request names no model.")


@router.get("", response_model=ModelListBody, summary="List models")
async def list_models(services: GatewayServices) -> ModelListBody:
    """The cards of all models: stems, rate, measured quality with its test set, speed, licence; what can run now."""
    cards = await asyncio.to_thread(services.bundles.list)
    bodies = await with_offers(services, cards)
    return ModelListBody(models=bodies, default_model=services.settings.default_model)


@router.get("/{model_id}", response_model=ModelBody, summary="Look at a model", responses=problems(404))
async def get_model(
    model_id: Annotated[str, Path(max_length=64, description="Id of a model.")], services: GatewayServices
) -> ModelBody:
    """The card of the model's newest version."""
    bundle = await asyncio.to_thread(services.bundles.get, model_id)
    (body,) = await with_offers(services, [bundle.card])
    return body


async def require_fitters(services: Services, cards: Sequence[ModelCard]) -> None:
    """Refuses models that no worker at work can run.

    Raises:
        UnavailableError: `no-worker-for-model`, or Redis is away.
    """
    fitted = [card.id for card in cards if card.fitting]
    if not fitted:
        return
    workers = await services.roll_call.workers()
    if _can_any_fit(workers) is False:
        message = (
            f"{fitted[0]} is fitted to the recording by a worker with torch, and none of the {len(workers)} at work "
            "has it; install it beside one: pip install 'divisi-choir[torch]'"
        )
        raise UnavailableError(message, code="no-worker-for-model", model=fitted[0], num_workers=len(workers))


async def with_offers(services: Services, cards: Sequence[ModelCard]) -> list[ModelBody]:
    """The cards, each with whether it can be run now."""
    can_fit: bool | None = None
    if any(card.fitting for card in cards):
        with suppress(UnavailableError):  # cards are shown whoever is away
            can_fit = _can_any_fit(await services.roll_call.workers())
    return [
        ModelBody(**card.model_dump(), needs=["torch"], is_offered=can_fit)
        if card.fitting
        else ModelBody(**card.model_dump(), needs=[], is_offered=True)
        for card in cards
    ]


def _can_any_fit(workers: Sequence[WorkerStatus]) -> bool | None:
    """None: not known; no worker has reported, or one that is starting may turn out to."""
    said = {worker.can_fit for worker in workers}
    if True in said:
        return True
    return None if None in said or not workers else False


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
