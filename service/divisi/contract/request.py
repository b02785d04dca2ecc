"""What may be asked of a separation: each option once, with its type, limits and description.

The gateway's form fields and query, the OpenAPI document, the arguments of the clients, the options of
`divisi separate`, the page's choices, the job's record and the table in docs/options.md come from here. Adding an
option touches this file, the code that obeys it, and its test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.fields import FieldInfo

from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat

MAX_MODELS, MAX_STEMS = 16, 64
MOST_SOURCES, MOST_BASES, MOST_ITERATIONS = 16, 128, 1000
SHORTEST_FFT, LONGEST_FFT = 512, 16_384
MOST_SEED = 2**32 - 1

Initialisation = Literal["circular", "two_step", "spots"]
Precision = Literal["single", "double"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Lane(StrEnum):
    """interactive goes first; a batch job counts as if it had been submitted some minutes later (`QueueOptions`)."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True)
class Offer:
    """How an option is offered to people, beyond its type, limits and description.

    Attributes:
        flags: on the command line; an option without any is for the API only.
        help: on the command line; empty: the description.
        choices: what it takes, where anything else has an error code of its own.
        page_label: beside the choices on the page; None: the page does not offer it.
    """

    flags: tuple[str, ...] = ()
    help: str = ""
    choices: type[StrEnum] | None = None
    page_label: str | None = None


class WantedOptions(BaseModel):
    """Models, and which of their stems."""

    model_config = ConfigDict(frozen=True)

    model: Annotated[
        tuple[Annotated[Name, Field(examples=["chorus"])], ...],
        Offer(("--model", "-m"), "Model id; see `divisi models`."),
    ] = Field((), max_length=MAX_MODELS, description="Model to separate with; several values give one job for each.")
    stems: Annotated[
        tuple[Annotated[Name, Field(examples=["alto"])], ...],
        Offer(("--stems",), "Only these stems, comma-separated; default all."),
    ] = Field(
        (),
        max_length=MAX_STEMS,
        description="Stems to deliver, repeated or joined by commas; all of the model's when left out.",
    )
    voices: Annotated[
        tuple[Annotated[Name, Field(examples=["soprano"])], ...],
        Offer(("--voices",), "Who sings, comma-separated, or `auto`; default all. Others come out silent."),
    ] = Field(
        (),
        max_length=MAX_STEMS,
        description="Voices that sing, repeated or joined by commas, or `auto` for whoever is detected; stems of the "
        "others are silent. All of the model's when left out. Only for models whose card says `takes_roster`.",
    )


class DeliveryOptions(BaseModel):
    """Options that reach the separation itself as they were asked, by way of the job's record."""

    model_config = ConfigDict(frozen=True)

    include_residual: Annotated[bool, Offer(("--residual",), "Also write what is left of the mixture.")] = Field(
        True, description="Deliver what no stem explains, too."
    )

    def delivery_options(self) -> dict[str, Any]:
        """These by name, for whoever carries them on."""
        return {name: getattr(self, name) for name in DeliveryOptions.model_fields}


class JobOptions(DeliveryOptions):
    """Options that the job's record and its answers have as they were asked."""

    stem_format: Annotated[
        str,
        StringConstraints(max_length=16),
        Offer(
            ("--format", "-f"),
            "wav is 24 bit; float for recordings beyond full scale.",
            choices=StemFormat,
            page_label="Stems as",
        ),
    ] = Field(
        StemFormat.WAV.value,
        description="How stems are encoded; `wav` is 24 bit, or float where the recording goes beyond full scale.",
        json_schema_extra={"enum": [*StemFormat]},
    )
    lane: Lane = Field(Lane.INTERACTIVE, description="`batch` lets interactive jobs pass.")

    @property
    def encoding(self) -> StemFormat:
        """The format of that name. Raises InputError `unsupported-stem-format`."""
        try:
            return StemFormat(self.stem_format)
        except ValueError:
            message = f"there is no stem format {self.stem_format!r}; known are {', '.join(StemFormat)}"
            raise InputError(message, code="unsupported-stem-format") from None

    def job_options(self) -> dict[str, Any]:
        """These by name, for whoever carries them on."""
        return {name: getattr(self, name) for name in JobOptions.model_fields}


class FitParameters(BaseModel):
    """What is asked of a model that is fitted to the recording; what is left out is as its card says."""

    model_config = ConfigDict(frozen=True)

    num_sources: Annotated[int | None, Offer(("--sources",), "Fitted models: sources.")] = Field(
        None,
        ge=1,
        le=MOST_SOURCES,
        description="Fitted models: sources to separate, at most as many as microphones.",
    )
    num_bases: Annotated[int | None, Offer(("--bases",))] = Field(
        None, ge=1, le=MOST_BASES, description="Fitted models: spectral patterns of each source."
    )
    num_iterations: Annotated[int | None, Offer(("--iterations",))] = Field(
        None,
        ge=1,
        le=MOST_ITERATIONS,
        description="Fitted models: iterations; twice as many take twice as long.",
    )
    fft_length: int | None = Field(
        None,
        ge=SHORTEST_FFT,
        le=LONGEST_FFT,
        description="Fitted models: window in samples of the recording, a power of two.",
        json_schema_extra={"enum": [2**power for power in range(1, 32) if SHORTEST_FFT <= 2**power <= LONGEST_FFT]},
    )
    initialisation: Initialisation | None = Field(
        None,
        description="Fitted models: what the fit starts from. `spots` needs to know which channel is whose.",
    )
    precision: Precision | None = Field(None, description="Fitted models: of the computing.")
    seed: Annotated[int | None, Offer(("--seed",), "Fitted models: seed of what is drawn.")] = Field(
        None,
        ge=0,
        le=MOST_SEED,
        description="Fitted models: of what is drawn; the same seed gives the same stems.",
    )


class FitOptions(FitParameters):
    """The same, and whose microphone is which channel."""

    spots: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(max_length=80),
                Field(
                    examples=["flute:1"],
                    json_schema_extra={"pattern": "^[a-z0-9]+([_-][a-z0-9]+)*:[1-9][0-9]{0,2}$"},
                ),
            ],
            ...,
        ],
        Offer(("--spots",), "Fitted models: whose spot microphone is which channel, as flute:1,cello:2."),
    ] = Field(
        (),
        max_length=MOST_SOURCES,
        description="Fitted models: which channel, counted from 1, is whose spot microphone, repeated or joined by "
        "commas. They name the stems.",
    )


class SeparationRequest(FitOptions, JobOptions, WantedOptions):
    """All options of one submit. Unknown names are refused: a misspelt option would take its default in silence."""

    model_config = ConfigDict(extra="forbid")

    source_url: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        None,
        description="Where the recording is fetched from, in place of a file: a public `https://` or `http://` "
        "address, or `s3://BUCKET/KEY` in a bucket that the service may read. The answer comes once it is here.",
        json_schema_extra={"format": "uri", "examples": ["https://choir.example/ave-verum.flac"]},
    )
    target: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None,
        description="Where the results go besides: below `<job id>/` at an `s3://BUCKET/PREFIX` that the service may "
        "write to; `manifest.json` comes last.",
        json_schema_extra={"format": "uri", "examples": ["s3://choir/results"]},
    )
    webhook_url: Annotated[str, StringConstraints(max_length=2048)] | None = Field(
        None,
        description="Called when the job ends: a POST after Standard Webhooks, repeated until it is accepted.",
        json_schema_extra={"format": "uri", "examples": ["https://choir.example/ended"]},
    )
    webhook_secret: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None,
        repr=False,
        description="Signs these calls: `whsec_` and 24 to 64 bytes in base64; by default the API key's own.",
        json_schema_extra={"pattern": "^whsec_[A-Za-z0-9+/]{32,88}={0,2}$"},
    )
    file_name: str | None = Field(
        None,
        description="What the recording is called, for names of downloads; by default the name of the file sent, in "
        "the form or in the `Content-Disposition` of a bare body. Cut to 200 characters.",
    )


class RequestArguments(TypedDict, total=False):
    """The same options as keyword arguments, for type checkers; a test holds the two together."""

    model: str | Sequence[str] | None
    stem_format: str | None
    stems: Sequence[str]
    voices: Sequence[str]
    include_residual: bool | None
    lane: str | None
    num_sources: int | None
    num_bases: int | None
    num_iterations: int | None
    fft_length: int | None
    initialisation: Initialisation | None
    precision: Precision | None
    seed: int | None
    spots: Sequence[str]
    source_url: str | None
    target: str | None
    webhook_url: str | None
    webhook_secret: str | None
    file_name: str | None


OPTIONS: Mapping[str, FieldInfo] = SeparationRequest.model_fields
REPEATABLE = frozenset(name for name, field in OPTIONS.items() if field.default == ())
FIT_OPTIONS = tuple(FitOptions.model_fields)


def offer_of(field: FieldInfo) -> Offer:
    """How an option is offered."""
    return next((one for one in field.metadata if isinstance(one, Offer)), Offer())


def page_options() -> list[dict[str, Any]]:
    """What the page offers: each option with its label, what can be chosen, and what is chosen at first."""
    offers = {name: offer_of(field) for name, field in OPTIONS.items()}
    return [
        {
            "name": name,
            "label": offer.page_label,
            "choices": [
                {"value": choice.value, "label": getattr(choice, "label", choice.value)} for choice in offer.choices
            ],
            "standard": OPTIONS[name].default,
        }
        for name, offer in offers.items()
        if offer.page_label and offer.choices
    ]


def values_of(texts: Iterable[str]) -> list[str]:
    """Values that may be repeated, or joined by commas, or both."""
    return [part.strip() for text in texts for part in text.split(",")]


def form_fields(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Options as fields of a form, without those left out.

    Raises:
        TypeError: there is no such option.
    """
    if unknown := [name for name in arguments if name not in OPTIONS]:
        raise TypeError(f"there is no option {unknown[0]!r}; known are {', '.join(OPTIONS)}")
    texts = {name: _text(value) for name, value in arguments.items() if value is not None}
    return {name: text for name, text in texts.items() if text}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else ",".join(value) if isinstance(value, Sequence) else str(value)
