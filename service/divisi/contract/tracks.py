"""Learning tracks: what may be asked of them, each option once, and what they are called.

The parameters of the API, the arguments of the clients and the options of `divisi tracks` come from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from divisi.contract.card import ACCOMPANIMENT
from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.request import Name, Offer

SLOWEST_PERCENT, FASTEST_PERCENT = 50, 125
MOST_SEMITONES = 12
ALL = "all"
"""In place of a part: all parts together."""
# How far the others are lowered behind a part in front.
LOWER_DB = 12
# A WAV file ends at 4 GiB: 16 bits, two channels, 48 kHz.
LONGEST_WAV_SECONDS = 22_000


class Layout(StrEnum):
    """How a part is placed against the rest."""

    words: str

    def __new__(cls, value: str, words: str = "{part}") -> Layout:
        """A layout with what tracks of it are called."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.words = words
        return member

    FRONT = "front", "{part} in front"
    WITHOUT = "without", "without {part}"
    LEFT = "left", "{part} left, the rest right"
    RIGHT = "right", "{part} right, the rest left"


class TrackFormat(StrEnum):
    """What learning tracks are encoded as."""

    MP3 = "mp3"
    OGG = "ogg"
    FLAC = "flac"
    WAV = "wav"


class TrackOptions(BaseModel):
    """How learning tracks sound and what is written in them."""

    model_config = ConfigDict(frozen=True)

    speed: Annotated[int, Offer(("--speed",))] = Field(
        100, ge=SLOWEST_PERCENT, le=FASTEST_PERCENT, description="Speed in percent; the pitch stays."
    )
    semitones: Annotated[int, Offer(("--semitones",))] = Field(
        0, ge=-MOST_SEMITONES, le=MOST_SEMITONES, description="Semitones upwards, or downwards below 0; vowels stay."
    )
    format: Annotated[TrackFormat, Offer(("--format", "-f"), choices=TrackFormat)] = Field(
        TrackFormat.MP3, description="mp3 is of 160 kbit/s, wav of 16 bit."
    )
    choir: Annotated[str, StringConstraints(max_length=80), Offer(("--choir",))] = Field(
        "", description="Name of the choir, for the tags."
    )

    @property
    def change(self) -> str:
        """What is not as it was, for names: `80 percent, 2 down`; empty where all is."""
        speed = f"{self.speed} percent" if self.speed != 100 else ""
        key = f"{abs(self.semitones)} {'up' if self.semitones > 0 else 'down'}" if self.semitones else ""
        return ", ".join(filter(None, (speed, key)))


class TrackSetOptions(TrackOptions):
    """A set of them."""

    parts: Annotated[tuple[Name, ...], Offer(("--parts",), "Only for these parts, comma-separated; default all.")] = (
        Field((), max_length=64, description="Parts to practise, repeated or joined by commas; all when left out.")
    )
    layouts: Annotated[
        tuple[Layout, ...], Offer(("--layouts",), "Only these, comma-separated: front, without, left, right.")
    ] = Field(
        (),
        max_length=64,
        description="How each part is placed, repeated or joined by commas; all when left out.",
        json_schema_extra={"items": {"enum": [*Layout]}},
    )


class MixOptions(TrackOptions):
    """One mix: exact sums of the stems, or with a layout a learning track."""

    layout: Layout | None = Field(None, description="How the part is placed in a learning track.")
    without: bool = Field(False, description="Without a layout: everything but the part, instead of the part in front.")
    lower_db: int = Field(LOWER_DB, ge=1, le=60, description="Without a layout: how far the others are lowered.")

    @property
    def is_track(self) -> bool:
        """True for a learning track."""
        return bool(set(TrackOptions.model_fields) & self.model_fields_set) or self.layout is not None


class TrackArguments(TypedDict, total=False):
    """The same options as keyword arguments, for type checkers; a test holds the two together."""

    speed: int
    semitones: int
    format: str
    choir: str
    parts: Sequence[str]
    layouts: Sequence[str]


def query_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Options as a query, without those left out. Raises TypeError where there is no such option."""
    known = TrackSetOptions.model_fields
    if unknown := [name for name in arguments if name not in known]:
        raise TypeError(f"there is no option {unknown[0]!r}; known are {', '.join(known)}")
    texts = {name: value for name, value in arguments.items() if value not in (None, (), [], "")}
    return {name: str(value) if isinstance(value, str | int) else ",".join(value) for name, value in texts.items()}


@dataclass(frozen=True)
class Track:
    """One track of a job's full set: of a part, placed somehow; or of all parts together, where there is no layout.

    Attributes:
        number: its place in the full set, from 1.
    """

    number: int
    part: str | None = None
    layout: Layout | None = None

    @property
    def title(self) -> str:
        """As people see it."""
        return "all parts" if self.part is None or self.layout is None else self.layout.words.format(part=self.part)

    @property
    def slug(self) -> str:
        """As it is stored."""
        return "all" if self.layout is None else f"{self.layout}-{self.part}"

    def file_name(self, options: TrackOptions) -> str:
        """Names sort as a choir practises: all parts first, then part by part."""
        change = f" ({options.change})" if options.change else ""
        return f"{self.number:02d} {self.title}{change}.{options.format}"


def full_set(parts: Sequence[str]) -> list[Track]:
    """All tracks that a job with these parts has."""
    tracks = [Track(1)]
    for part in parts:
        tracks += [Track(len(tracks) + 1 + place, part, layout) for place, layout in enumerate(Layout)]
    return tracks


def track_of(part: str, layout: Layout | None, parts: Sequence[str]) -> Track:
    """One track of the full set; without a layout the part is in front. Raises NotFoundError `unknown-part`."""
    if part == ALL and ALL not in parts:
        return Track(1)
    check_part(part, parts)
    return next(one for one in full_set(parts) if (one.part, one.layout) == (part, layout or Layout.FRONT))


def tracks_of(parts: Sequence[str], options: TrackSetOptions) -> list[Track]:
    """Those that a set has: all parts together, and the asked layouts of the asked parts. Nobody practises what
    accompanies the voices, but who names it.

    Raises:
        NotFoundError: `unknown-part`.
    """
    for part in options.parts:
        check_part(part, parts)
    sung = tuple(part for part in parts if part != ACCOMPANIMENT)
    wanted_parts, layouts = options.parts or sung, options.layouts or tuple(Layout)
    tracks = full_set(parts)
    return [one for one in tracks if one.layout is None or (one.part in wanted_parts and one.layout in layouts)]


def check_length(seconds: float, options: TrackOptions) -> None:
    """Raises InputError `audio-too-long` for tracks of a recording that do not fit into files of their format."""
    track_seconds = seconds * 100 / options.speed
    if options.format is TrackFormat.WAV and track_seconds > LONGEST_WAV_SECONDS:
        raise InputError(
            f"the tracks last {track_seconds:.0f} s; wav holds {LONGEST_WAV_SECONDS} s, flac and mp3 hold more",
            code="audio-too-long",
            limit_seconds=LONGEST_WAV_SECONDS,
        )


def check_part(part: str, known: Sequence[str]) -> None:
    """Raises NotFoundError `unknown-part` for a part that the job does not have."""
    if part not in known:
        raise NotFoundError(f"the job has no part {part!r}; it has {', '.join(known)}", code="unknown-part")
