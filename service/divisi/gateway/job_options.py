"""What a submit asks for: options from form fields or the query, checked against the models there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from divisi.audio.encode import StemFormat, parse_stem_format
from divisi.bundles.card import ModelCard
from divisi.bundles.roster import Voices, check_voices, parse_voices
from divisi.bundles.store import BundleStore
from divisi.errors import InputError, NotFoundError
from divisi.jobs.job import Lane

MAX_MODELS = 8
MAX_STEMS = 64
REPEATABLE = frozenset({"model", "stems", "voices"})

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class JobOptions(BaseModel):
    """Options of one submit. Unknown names are refused: a misspelt option would take its default in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: tuple[Name, ...] = Field((), max_length=MAX_MODELS)
    stem_format: Annotated[str, StringConstraints(max_length=16)] = StemFormat.WAV24.value
    stems: tuple[Name, ...] = Field((), max_length=MAX_STEMS)
    voices: tuple[Name, ...] = Field((), max_length=MAX_STEMS)
    include_residual: bool = True
    lane: Lane = Lane.INTERACTIVE
    file_name: Annotated[str, StringConstraints(max_length=1000)] | None = None
    webhook_url: Annotated[str, StringConstraints(max_length=2048)] | None = None
    webhook_secret: Annotated[str, StringConstraints(max_length=128)] | None = Field(None, repr=False)

    @property
    def encoding(self) -> StemFormat:
        """The stem format as such; InputError (`unsupported-stem-format`) for a name that is none."""
        return parse_stem_format(self.stem_format)

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
        InputError: `unknown-model`, `unknown-stem`, `unknown-voice`, `voices-not-supported`; facts list what there is.
        ModelError: a model is there but damaged.
    """
    cards = []
    for model_id in dict.fromkeys(options.model or (default_model,)):
        try:
            card = bundles.get(model_id).card
        except NotFoundError as error:
            raise InputError(error.message, code="unknown-model", known=bundles.model_ids()) from error
        unknown = [name for name in options.stems if name not in card.stems]
        if unknown:
            raise InputError(
                f"{card.id} has no stem {unknown[0]!r}; it has {', '.join(card.stems)}",
                code="unknown-stem",
                model=card.id,
                unknown=unknown,
                known=list(card.stems),
            )
        options.voices_for(card)
        cards.append(card)
    return cards


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
    if options.webhook_url is not None:
        decisive.append(options.webhook_url)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _split(texts: Iterable[str]) -> list[str]:
    """Values that may be repeated, or joined by commas, or both."""
    return [part.strip() for text in texts for part in text.split(",")]
