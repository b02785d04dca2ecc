"""What may be asked with `divisi separate`: what may be asked of a server, and which files are written besides."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from annotated_types import Ge, Le
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from divisi import DISTRIBUTION
from divisi.contract.errors import InputError, UnavailableError
from divisi.contract.request import FIT_OPTIONS, OPTIONS, Offer, SeparationRequest, offer_of, values_of

# Of a request that asks for nothing: what the notes of version 0.1 were made with.
_NOTHING_ASKED = (
    "Request(model=None, stem_format=<OutputFormat.WAV: 'wav'>, stems=(), include_residual=False, "
    "include_pitch=False, include_resynthesis=False, voices=(), fit=None, include_plot=False)"
)


class CommandRequest(SeparationRequest):
    """What is asked of each recording; empty `stems` and `voices` mean all."""

    model: Annotated[tuple[str, ...], offer_of(OPTIONS["model"])] = Field((), max_length=1)
    include_residual: Annotated[bool, offer_of(OPTIONS["include_residual"])] = False
    include_pitch: Annotated[
        bool,
        Offer(("--pitch",), "Also write pitch.json, pitch.csv, notes.mid, bars.json, scores, if the model has pitch."),
    ] = False
    include_resynthesis: Annotated[
        bool, Offer(("--resynthesis",), "Also write the mixture as the model sings it again, if it can.")
    ] = False
    include_plot: Annotated[
        bool, Offer(("--plot",), "Also write report.png: spectrograms, pitch, levels, confidence.")
    ] = False

    @property
    def model_id(self) -> str | None:
        """The model asked for; None: the default one."""
        return self.model[0] if self.model else None

    def arguments(self) -> dict[str, Any]:
        """What to ask of a server, by name: all that its own defaults do not say."""
        asked = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in asked.items() if value != OPTIONS[name].default}

    def digested(self) -> str:
        """What is asked, as digests have it: options left out do not change it."""
        asked = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(asked, sort_keys=True) if asked else _NOTHING_ASKED


Asked = TypeVar("Asked", bound=BaseModel)


def with_options(*kinds: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an option for each field that its `kinds` offer, in front of its own keyword-only ones.

    They come to it as keyword arguments, by the names of their fields.
    """

    def extend(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        first = [one for one in own if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        fields = {name: kind.model_fields[name] for kind in kinds for name in _offered(kind)}
        names = sorted(fields, key=lambda name: name in FIT_OPTIONS)  # what few need comes last
        parameters = [*first, *(_parameter(name, fields[name]) for name in names), *own[len(first) :]]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return command

    return extend


def request_from(given: Mapping[str, Any], kind: type[Asked]) -> Asked:
    """What the options of the command line ask for; those of another kind are left out.

    Raises:
        InputError: `invalid-request`, an option that cannot be had.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in kind.model_fields:
            continue
        if isinstance(kind.model_fields[name].default, tuple):
            values[name] = [part for part in values_of([value or ""]) if part]
        elif value is not None:
            values[name] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name, reason = str(problem["loc"][0]), problem["msg"]
        if problem["type"] == "too_long":
            reason = f"at most {problem['ctx']['max_length']} can be given"
        message = f"{offer_of(kind.model_fields[name]).flags[0]} {given[name]}: {reason}"
        raise InputError(message, code="invalid-request") from error


def request_of(options: Mapping[str, Any]) -> CommandRequest:
    """The same of keyword arguments, whose lists may be lists.

    Raises:
        TypeError: there is no such option.
        InputError: as `request_from`.
    """
    known = _offered(CommandRequest)
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"there is no option {unknown[0]!r}; known are {', '.join(known)}")
    is_list = {name: isinstance(value, Sequence) and not isinstance(value, str) for name, value in options.items()}
    given = {name: ",".join(value) if is_list[name] else value for name, value in options.items()}
    return request_from(given, CommandRequest)


def check_offered(model_id: str, cards: Iterable[Mapping[str, Any]]) -> None:
    """Whether a server can separate with a model, as its list of models says; it refuses an unknown one itself.

    Raises:
        UnavailableError: `no-worker-for-model`.
    """
    for card in cards:
        if card["id"] == model_id and card.get("is_offered") is False:
            extras = ",".join(card["needs"])
            message = (
                f"no worker of this server can run {model_id}; choose another model (-m), or have one installed with "
                f"pip install '{DISTRIBUTION}[{extras}]'"
            )
            raise UnavailableError(message, code="no-worker-for-model", model=model_id)


def _offered(kind: type[BaseModel]) -> list[str]:
    return [name for name, field in kind.model_fields.items() if offer_of(field).flags]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """An option as typer reads it from a function's signature."""
    offer = offer_of(field)
    annotation: Any = field.annotation
    default: Any = ... if field.is_required() else field.default
    if isinstance(default, tuple):
        annotation, default = str | None, None
    elif offer.choices:
        annotation, default = offer.choices, offer.choices(default)
    limits = {type(limit): limit for limit in field.metadata}
    option = typer.Option(
        default,
        *offer.flags,
        help=offer.help or field.description,
        min=limits[Ge].ge if Ge in limits else None,
        max=limits[Le].le if Le in limits else None,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation)
