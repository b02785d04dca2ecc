"""Models that are fitted to each recording: the part of their card that says so.

Such a model has no trained weights: it explains the several microphones of one recording, iteration by iteration.
What a request may ask of one is in `fit_plan`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from divisi.contract.request import (
    LONGEST_FFT,
    MOST_BASES,
    MOST_ITERATIONS,
    MOST_SOURCES,
    SHORTEST_FFT,
    Initialisation,
)


class Fitting(BaseModel):
    """The part of a card that makes a model a fitted one: its defaults, all of which a request may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["fastmnmf2", "ilrma"]
    num_sources: int | None = Field(None, ge=1, le=MOST_SOURCES, description="None: as many as microphones.")
    num_bases: int = Field(ge=1, le=MOST_BASES, description="Spectral patterns of each source.")
    num_iterations: int = Field(ge=1, le=MOST_ITERATIONS)
    fft_length: int = Field(ge=SHORTEST_FFT, le=LONGEST_FFT, description="At 44.1 and 48 kHz.")
    initialisation: Initialisation
    updates: Literal["steering", "projection"] = "steering"
    stems_have_spots: bool = Field(
        False, description="The recording's first channels are the spot microphones of the stems, in order."
    )

    @property
    def takes_as_many_sources_as_microphones(self) -> bool:
        """True where the algorithm knows no other number."""
        return self.algorithm == "ilrma"
