"""What a choir keeps with a job to rehearse from: named passages, the tempo, how a passage is counted in."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MOST_PASSAGES = 200
LONGEST_SECONDS = 24 * 3600
# Of the whole as JSON: twice what so many passages with the longest names take.
MOST_BYTES = 1 << 17


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Passage(_Kept):
    """A stretch of the recording that has a name: a loop, or a section of the piece."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"\S")] = Field(examples=["Bars 12–20"])
    start_seconds: float = Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)
    duration_seconds: float = Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)


class Rehearsal(_Kept):
    """All that is kept; replaced as a whole."""

    passages: list[Passage] = Field(default_factory=list, max_length=MOST_PASSAGES)
    beats_per_minute: float | None = Field(None, ge=20, le=400, description="As sung; null: nobody has set it.")
    # JSON has one kind of numbers: 4.0 is 4.
    count_in_beats: Annotated[int, Field(strict=False, ge=0, le=16), BeforeValidator(_no_truth)] = Field(
        0, description="Clicks before playing begins; 0: none."
    )
