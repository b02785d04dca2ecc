"""The card of a model: all that its weights cannot say, kept beside them in `card.yaml`.

The Separator cuts segments by it, engines check their graph against it, the gateway shows it. `CardDraft` is what the
author of a model knows before export; `ModelCard` adds what export measured. Sample counts are at the model's own rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from divisi.contract.request import (
    LONGEST_FFT,
    MOST_BASES,
    MOST_ITERATIONS,
    MOST_SOURCES,
    SHORTEST_FFT,
    Initialisation,
)

MODEL_ID_PATTERN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION_PATTERN = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}")
STEM_PATTERN = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
FILE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Names of files that every separation may deliver besides the stems of the model.
RESIDUAL, MIXTURE, RESYNTHESIS = "residual", "mixture", "resynthesis"
ACCOMPANIMENT = "accompaniment"
"""What models call the stem of what is not sung, where they have one."""
RESERVED_STEMS = frozenset({RESIDUAL, MIXTURE, RESYNTHESIS})
# In place of the names of voices: whoever is detected.
AUTO: Final = "auto"

ArtifactKind = Literal["onnx", "torchscript"]
OutputName = Literal["f0", "voicing", "presence", "resynthesis"]
_FRAME_OUTPUTS = frozenset({"f0", "voicing"})
LONGEST_NAME = 64


def _matches(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if len(text) > LONGEST_NAME or not pattern.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is not {what} of at most {LONGEST_NAME} characters")
        return text

    return AfterValidator(check)


ModelId = Annotated[str, _matches(MODEL_ID_PATTERN, "a model id (lower case letters, digits, single hyphens)")]
Version = Annotated[str, _matches(VERSION_PATTERN, "a version (three numbers, such as 1.10.0)")]
StemName = Annotated[str, _matches(STEM_PATTERN, "a stem name (lower case letters, digits, single - or _)")]
FileName = Annotated[str, _matches(FILE_PATTERN, "a plain file name")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Part(BaseModel):
    """Unknown fields are refused: a misspelt field would otherwise take its default in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ExtraOutput(_Part):
    """A named output of the graph besides `estimates`.

    `f0`: float32 (B, S, N) in Hz, 0 where unvoiced; frame n stands for sample n * hop_length; N is T // hop_length, or
    one more.
    `voicing`: float32 (B, S, N), 0 to 1, how sure the network is that the voice has a pitch there; frames as in f0.
    `presence`: float32 (B, S), log odds that the voice sings anywhere in the segment.
    `resynthesis`: float32 (B, C, T).
    """

    name: OutputName
    hop_length: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_a_hop_where_it_has_frames(self) -> Self:
        if (self.name in _FRAME_OUTPUTS) != (self.hop_length is not None):
            raise ValueError("hop_length belongs to f0 and voicing, and to them alone")
        return self


class Artifact(_Part):
    """One exported file of the bundle."""

    kind: ArtifactKind
    file: FileName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: int = Field(gt=0)
    opset: int | None = Field(None, gt=0, description="ONNX operator set; ONNX only.")


class Parity(_Part):
    """How far each artifact is from the network, over all outputs: the largest absolute difference."""

    max_abs_error: Mapping[ArtifactKind, float]
    tolerance: float = Field(gt=0)
    seed: int
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    signals: tuple[Text, ...] = Field(("noise",), description="What it was measured on.")


class Quality(_Part):
    """What the model reaches on one test set, measured through the serving path."""

    test_set: Text
    protocol: Text
    metric: Text = Field(description="Name and unit, such as `SI-SDR in dB`.")
    per_stem: Mapping[StemName, float]
    mean: float
    mixture_mean: float | None = Field(None, description="The same figure for the mixture taken as every estimate.")


class Speed(_Part):
    """Seconds of computing for one second of audio, the whole serving path included."""

    real_time_factor: float = Field(gt=0)
    machine: Text
    engine: Text
    num_threads: int = Field(ge=1)


class TrainingData(_Part):
    """One data set that the weights have seen, with whom to thank."""

    name: Text
    licence: Text
    credit: Text


class Training(_Part):
    summary: Text
    data: tuple[TrainingData, ...] = ()


class Fitting(_Part):
    """The part of a card that makes a model one that is fitted to each recording.

    Such a model has no trained weights: it explains the several microphones of one recording, iteration by iteration.
    These are its defaults; what a request may ask instead is in `models/plan.py`.
    """

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


class CardDraft(_Part):
    """What the author of a model states before export."""

    id: ModelId
    version: Version
    title: Text
    description: Text
    stem_family: Text
    stems: tuple[StemName, ...] = Field(min_length=1, description="In the order of axis S of `estimates`.")
    accompaniment: StemName | None = Field(
        None, description="The last of the stems, where it is no voice: a piano, an organ, applause, if there is any."
    )
    sample_rate: int = Field(gt=0, le=384_000, description="Hz.")
    num_channels: Annotated[int, Field(ge=1)] | Literal["any"] = 1
    segment_length: Annotated[int, Field(gt=0)] | Literal["whole"] = Field(
        description="Samples given to the network at a time, context included; `whole`: the recording in one piece."
    )
    context_length: int = Field(0, ge=0, description="Samples at each end of a segment that only serve as context.")
    length_multiple: int = Field(1, gt=0, description="The graph takes multiples of this many samples.")
    normalisation: Literal["in_graph"] = Field(
        "in_graph", description="The graph takes samples as they are, full scale ±1."
    )
    mask_exponent: float = Field(
        1.0, gt=0, le=4, description="Exponent of the ratio masks that bring estimates to full band."
    )
    takes_roster: bool = Field(
        False, description="The graph has a second input, `roster`: which voices may sing; absent ones come out silent."
    )
    extra_outputs: tuple[ExtraOutput, ...] = ()
    half_precision_safe: bool = Field(
        False, description="Computing in float16 costs no quality worth mention; measured, not guessed."
    )
    weight_precision: Literal["full", "half"] = Field(
        "full", description="half: export rounds the weights to float16, two bytes each; computing stays float32."
    )
    fitting: Fitting | None = Field(
        None, description="The model is fitted to each recording, by several microphones, at the recording's own rate."
    )
    quality: tuple[Quality, ...] = ()
    speed: tuple[Speed, ...] = ()
    training: Training | None = None
    licence: Text = "Apache-2.0"

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return ("estimates", *(output.name for output in self.extra_outputs))

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return ("mixture", "roster") if self.takes_roster else ("mixture",)

    @property
    def voices(self) -> tuple[str, ...]:
        """The stems that are voices, in order."""
        return self.stems[:-1] if self.accompaniment else self.stems

    @property
    def hop_length(self) -> int | None:
        """Samples from one frame of the pitch tracks to the next; None when the graph gives no pitch."""
        return next((output.hop_length for output in self.extra_outputs if output.name == "f0"), None)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _require_distinct("stems", self.stems)
        _require_distinct("extra_outputs", [output.name for output in self.extra_outputs])
        if reserved := (RESERVED_STEMS | {AUTO}).intersection(self.stems):
            raise ValueError(f"stems: {', '.join(sorted(reserved))} is a reserved name")
        if {output.hop_length for output in self.extra_outputs if output.hop_length} - {self.hop_length}:
            raise ValueError("extra_outputs: voicing needs f0, with the same hop_length")
        if self.accompaniment:
            if self.accompaniment != self.stems[-1] or len(self.stems) == 1:
                raise ValueError(f"accompaniment: {self.accompaniment} must be the last stem, after the voices")
            if not self.takes_roster or "presence" not in self.output_names:
                raise ValueError("accompaniment: the graph must take a roster and give presence, to leave it out")
        for entry in self.quality:
            if set(entry.per_stem) != set(self.voices):
                raise ValueError(
                    f"quality: per_stem names {sorted(entry.per_stem)}, the voices are {sorted(self.voices)}"
                )
        if self.fitting and (self.num_channels, self.segment_length) != ("any", "whole"):
            raise ValueError("fitting: such a model takes `any` num_channels and the `whole` recording")
        if self.segment_length == "whole":
            if self.context_length:
                raise ValueError("context_length: a whole recording has no context")
        elif self.segment_length % self.length_multiple:
            raise ValueError(
                f"segment_length: {self.segment_length} is not a multiple of length_multiple {self.length_multiple}"
            )
        elif 2 * self.context_length >= self.segment_length:
            raise ValueError(
                f"context_length: 2 * {self.context_length} leaves nothing of {self.segment_length} samples"
            )
        return self


class ModelCard(CardDraft):
    """The card of a published bundle: the draft, and what export found."""

    artifacts: tuple[Artifact, ...] = ()
    parity: Parity | None = None
    git_commit: str | None = None
    created: datetime | None = None

    @model_validator(mode="after")
    def _lists_each_artifact_once(self) -> Self:
        kinds = [artifact.kind for artifact in self.artifacts]
        _require_distinct("artifacts", kinds)
        if self.parity and set(self.parity.max_abs_error) != set(kinds):
            raise ValueError(
                f"parity: stated for {sorted(self.parity.max_abs_error)}, the artifacts are {sorted(kinds)}"
            )
        return self


def version_key(version: str) -> tuple[int, ...]:
    """Sorting key: 1.10.0 comes after 1.9.0."""
    return tuple(int(number) for number in version.split("."))


def _require_distinct(field: str, names: Any) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{field}: {list(names)} names one twice")
