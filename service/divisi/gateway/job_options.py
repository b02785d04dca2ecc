"""What a submit asks for: options from form fields or the query, checked against the models there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from divisi.audio.encode import StemFormat, parse_stem_format
from divisi.audio.facts import AudioFacts
from divisi.bundles.card import ModelCard
from divisi.bundles.fit_plan import (
    MOST_SEED,
    FitRequest,
    Precision,
    fitting_of,
    parse_spots,
    plan_fit,
)
from divisi.bundles.fitting import (
    LONGEST_FFT,
    MOST_BASES,
    MOST_ITERATIONS,
    MOST_SOURCES,
    SHORTEST_FFT,
    Initialisation,
)
from divisi.bundles.roster import Voices, check_voices, parse_voices
from divisi.bundles.store import BundleStore
from divisi.errors import InputError, NotFoundError
from divisi.jobs.job import Lane

MAX_MODELS = 16
MAX_STEMS = 64
REPEATABLE = frozenset({"model", "stems", "voices", "spots"})

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class JobOptions(BaseModel):
    """Options of one submit. Unknown names are refused: a misspelt option would take its default in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: tuple[Name, ...] = Field((), max_length=MAX_MODELS)
    stem_format: Annotated[str, StringConstraints(max_length=16)] = StemFormat.WAV.value
    stems: tuple[Name, ...] = Field((), max_length=MAX_STEMS)
    voices: tuple[Name, ...] = Field((), max_length=MAX_STEMS)
    include_residual: bool = True
    lane: Lane = Lane.INTERACTIVE
    file_name: str | None = None
    num_sources: int | None = Field(None, ge=1, le=MOST_SOURCES)
    num_bases: int | None = Field(None, ge=1, le=MOST_BASES)
    num_iterations: int | None = Field(None, ge=1, le=MOST_ITERATIONS)
    fft_length: int | None = Field(None, ge=SHORTEST_FFT, le=LONGEST_FFT)
    initialisation: Initialisation | None = None
    precision: Precision | None = None
    seed: int | None = Field(None, ge=0, le=MOST_SEED)
    spots: tuple[Annotated[str, StringConstraints(max_length=80)], ...] = Field((), max_length=MOST_SOURCES)
    webhook_url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    webhook_secret: Annotated[str, StringConstraints(max_length=128)] | None = Field(None, repr=False)

    @property
    def encoding(self) -> StemFormat:
        """The stem format as such; InputError (`unsupported-stem-format`) for a name that is none."""
        return parse_stem_format(self.stem_format)

    @property
    def fit(self) -> FitRequest:
        """What is asked of a model that is fitted to the recording; InputError (`invalid-spot`)."""
        return FitRequest(
            num_sources=self.num_sources,
            num_bases=self.num_bases,
            num_iterations=self.num_iterations,
            fft_length=self.fft_length,
            initialisation=self.initialisation,
            precision=self.precision,
            seed=self.seed,
            spots=parse_spots(self.spots),
        )

    def voices_for(self, card: ModelCard) -> Voices:
        """Who may sing, in the model's order; InputError (`unknown-voice`, `voices-not-supported`) if it cannot."""
        return check_voices(parse_voices(self.voices), card)


def read_options(form: dict[str, list[str]], query: Iterable[tuple[str, str]]) -> JobOptions:
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
            values[name] = _split(texts) if name in REPEATABLE else texts[0]
    try:
        options = JobOptions.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            place = "body" if problem["loc"][0] in form else "query"
            problems.append({"loc": (place, *problem["loc"]), "msg": problem["msg"], "type": problem["type"]})
    if problems:
        raise RequestValidationError(problems)
    return options


def choose_models(options: JobOptions, bundles: BundleStore, default_model: str) -> list[ModelCard]:
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
            if options.fit != FitRequest():
                fitting_of(card)
        options.voices_for(card)
        cards.append(card)
    return cards


def wanted_stems(card: ModelCard, options: JobOptions, facts: AudioFacts) -> tuple[str, ...] | None:
    """The stems asked for, in the model's order, whatever order they were asked for in; None: all.

    Raises:
        InputError: `unknown-stem`; of a fitted model, whose stems depend on the recording, also all that `plan_fit`
            raises.
    """
    known = card.stems
    if card.fitting is not None:
        known = plan_fit(card, options.fit, facts.num_channels, facts.sample_rate).stems
    return _stems_in_order(card.id, options.stems, known) or None


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


def fingerprint_of(sha256: str, model_ids: Sequence[str], options: JobOptions) -> str:
    """Digest of all that decides the outcome: the recording's bytes and the options, however they were written down."""
    decisive = [
        sha256,
        list(model_ids),
        options.encoding.value,
        sorted(set(options.stems)),
        options.include_residual,
        options.lane.value,
    ]
    if options.voices:
        decisive.append({"voices": sorted(set(options.voices))})
    if fit := options.fit.to_dict():
        decisive.append({"fit": fit})
    if options.webhook_url is not None:
        decisive.append(options.webhook_url)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _split(texts: Iterable[str]) -> list[str]:
    """Values that may be repeated, or joined by commas, or both."""
    return [part.strip() for text in texts for part in text.split(",")]
