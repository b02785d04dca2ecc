"""What one request asks of a model that is fitted to the recording, and the plan that this means for one recording.

The gateway makes the plan to refuse what cannot be had, the worker makes the same one to follow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from divisi.contract.card import AUTO, LONGEST_NAME, RESERVED_STEMS, STEM_PATTERN, CardDraft, Fitting, ModelCard
from divisi.contract.errors import InputError
from divisi.contract.request import (
    FIT_OPTIONS,
    LONGEST_FFT,
    MOST_SOURCES,
    SHORTEST_FFT,
    FitParameters,
    Initialisation,
    SeparationRequest,
)


@dataclass(frozen=True)
class Spot:
    """A microphone that stands at one instrument: the instrument's `name` and the `channel`, counted from 1."""

    name: str
    channel: int


class FitRequest(FitParameters):
    """What one request asks of a fit; None: what the model's card says. `spots` name and order the stems."""

    spots: tuple[Spot, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without what is not asked; see `fit_request_from`."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True)
class FitPlan:
    """One fit in all its numbers.

    Attributes:
        stems: S names, in order.
        spot_channels: of each stem, the channel of its own microphone counted from 0, or None.
        fft_length: samples at the recording's rate.
        learns_gains: False for ILRMA.
        projects: update the diagonaliser by projection, else by steering.
    """

    stems: tuple[str, ...]
    spot_channels: tuple[int | None, ...]
    num_bases: int
    num_iterations: int
    fft_length: int
    initialisation: Initialisation
    is_precise: bool
    learns_gains: bool
    projects: bool
    seed: int

    @property
    def num_sources(self) -> int:
        """S."""
        return len(self.stems)


def fitting_of(card: ModelCard) -> Fitting:
    """What the card says of its fits.

    Raises:
        InputError: code `fit-not-supported`: the model is a trained one.
    """
    if card.fitting is None:
        message = f"model {card.id} is not fitted to the recording; leave the options of fits out"
        raise InputError(message, code="fit-not-supported", model=card.id)
    return card.fitting


def fit_request_of(request: SeparationRequest) -> FitRequest:
    """What a request asks of a fit; InputError (`invalid-spot`)."""
    asked = {name: getattr(request, name) for name in FIT_OPTIONS}
    return FitRequest(**asked | {"spots": parse_spots(request.spots)})


def fit_request_from(values: Mapping[str, Any]) -> FitRequest:
    """From `FitRequest.to_dict`; ValueError when it is none."""
    return FitRequest.model_validate(values)


def parse_spots(texts: Sequence[str]) -> tuple[Spot, ...]:
    """Spots from texts such as `flute:1`.

    Raises:
        InputError: code `invalid-spot`.
    """
    spots = []
    for text in texts:
        name, _, channel = text.strip().rpartition(":")
        if not is_stem_name(name) or not channel.isdecimal() or not 1 <= int(channel) <= 999:
            message = f"{text[:80]!r} names no spot microphone; write instrument:channel, such as flute:1"
            raise InputError(message, code="invalid-spot")
        spots.append(Spot(name, int(channel)))
    return tuple(spots)


def is_stem_name(name: str) -> bool:
    """True for what a stem may be called: lower case letters, digits, single - or _; not a reserved name."""
    return len(name) <= LONGEST_NAME and bool(STEM_PATTERN.fullmatch(name)) and name not in {*RESERVED_STEMS, AUTO}


def plan_fit(card: ModelCard, request: FitRequest | None, num_channels: int, sample_rate: int) -> FitPlan:
    """The fit that a request means for one recording.

    Args:
        card: of a fitted model.
        request: what was asked; None: nothing.
        num_channels, sample_rate: of the recording.

    Raises:
        InputError: `too-few-channels`, `too-many-sources`, `invalid-spot`, `invalid-fit-option`; facts hold the values.
            `fit-not-supported` for options given to a trained model.
    """
    fitting, stems, request = fitting_of(card), card.stems, request or FitRequest()
    if num_channels < 2:
        message = f"{fitting.algorithm} needs at least 2 microphones; the recording has {num_channels} channel"
        raise InputError(message, code="too-few-channels", num_channels=num_channels, least=2)
    if request.fft_length is not None and request.fft_length & (request.fft_length - 1):
        message = f"fft_length is {request.fft_length}; it must be a power of two"
        raise InputError(message, code="invalid-fit-option", option="fft_length", value=request.fft_length)
    spots = request.spots
    if not spots and fitting.stems_have_spots and num_channels >= len(stems):
        spots = tuple(Spot(name, place + 1) for place, name in enumerate(stems))
    _check_spots(spots, num_channels)
    num_sources = _num_sources(fitting, request, spots, num_channels)
    initialisation = request.initialisation or fitting.initialisation
    if initialisation == "spots" and not spots:
        if request.initialisation == "spots":
            message = "initialisation `spots` needs to know which channel is whose; give spots, such as flute:1"
            raise InputError(message, code="invalid-spot")
        initialisation = "two_step"
    taken = {spot.name for spot in spots}
    own_names = (name for name in (f"source_{number}" for number in range(1, 10_000)) if name not in taken)
    num_others = num_sources - len(spots)
    return FitPlan(
        stems=(*(spot.name for spot in spots), *(next(own_names) for _ in range(num_others))),
        spot_channels=(*(spot.channel - 1 for spot in spots), *([None] * num_others)),
        num_bases=request.num_bases or fitting.num_bases,
        num_iterations=request.num_iterations or fitting.num_iterations,
        fft_length=request.fft_length or _fft_length_at(sample_rate, fitting.fft_length),
        initialisation=initialisation,
        is_precise=request.precision == "double",
        learns_gains=fitting.algorithm != "ilrma",
        projects=fitting.updates == "projection",
        seed=request.seed or 0,
    )


def _num_sources(fitting: Fitting, request: FitRequest, spots: Sequence[Spot], num_channels: int) -> int:
    asked = request.num_sources
    if fitting.takes_as_many_sources_as_microphones and asked not in (None, num_channels):
        message = f"ilrma separates as many sources as microphones, {num_channels}; {asked} were asked for"
        raise InputError(message, code="invalid-fit-option", num_sources=asked, num_channels=num_channels)
    most = min(num_channels, MOST_SOURCES)
    default = num_channels if fitting.takes_as_many_sources_as_microphones else len(spots) or fitting.num_sources
    num_sources = asked or default or most
    if num_sources > most:
        message = f"{num_sources} sources cannot be separated with {num_channels} microphones; at most {most}"
        raise InputError(message, code="too-many-sources", num_sources=num_sources, limit=most)
    if num_sources < len(spots):
        message = f"{len(spots)} spot microphones are named, but {num_sources} sources asked for"
        raise InputError(message, code="invalid-spot", num_sources=num_sources, num_spots=len(spots))
    return num_sources


def _check_spots(spots: Sequence[Spot], num_channels: int) -> None:
    for spot in spots:
        if not 1 <= spot.channel <= num_channels:
            message = f"{spot.name} has its microphone on channel {spot.channel}; the recording has {num_channels}"
            raise InputError(message, code="invalid-spot", channel=spot.channel, num_channels=num_channels)
    for what in ([spot.name for spot in spots], [spot.channel for spot in spots]):
        if len(set(what)) < len(what):
            raise InputError(f"spots {what}: each instrument and each channel once", code="invalid-spot")


def _fft_length_at(sample_rate: int, fft_length: int) -> int:
    """About as many seconds as `fft_length` at 44.1 kHz, in a power of two."""
    while sample_rate < 32_000 and fft_length > SHORTEST_FFT:
        sample_rate, fft_length = 2 * sample_rate, fft_length // 2
    while sample_rate > 64_000 and fft_length < LONGEST_FFT:
        sample_rate, fft_length = sample_rate // 2, 2 * fft_length
    return fft_length


Voices = tuple[str, ...] | Literal["auto"] | None
"""Names of the voices that may sing; `auto`: whoever is detected; None: all of the model's."""


def parse_voices(names: Sequence[str]) -> Voices:
    """What a list of names means; an empty one means all.

    Raises:
        InputError: code `unknown-voice`; `auto` beside names.
    """
    if AUTO not in names:
        return tuple(names) or None
    if len(names) > 1:
        message = f"voices {', '.join(names)}: give names or {AUTO}, not both"
        raise InputError(message, code="unknown-voice", unknown=[AUTO])
    return AUTO


def check_voices(voices: Voices, card: CardDraft) -> Voices:
    """The same voices in the model's order, each once.

    Raises:
        InputError: `unknown-voice`, or `voices-not-supported` when the model takes no roster.
    """
    if voices is None:
        return None
    if not card.takes_roster:
        asked = voices if voices == AUTO else ", ".join(voices)
        message = f"voices {asked[:80]!r}: model {card.id} takes no list of who sings; leave voices out"
        raise InputError(message, code="voices-not-supported", model=card.id)
    if voices == AUTO:
        return voices
    unknown = [name for name in voices if name not in card.voices]
    if unknown or not voices:
        asked = repr(unknown[0][:80]) if unknown else "of no name"
        message = f"{card.id} has no voice {asked}; name some of {', '.join(card.voices)}, or {AUTO}"
        raise InputError(message, code="unknown-voice", model=card.id, unknown=unknown, known=[*card.voices, AUTO])
    return tuple(name for name in card.voices if name in voices)
