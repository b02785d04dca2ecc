"""What one attempt at a job made, as the job's record has it: files, figures, warnings; and what is in `pitch.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter


@dataclass(frozen=True)
class ManifestFile:
    """One delivered file: `name` ("soprano", "pitch.json"), `file_name` of a download, `key` where it rests.

    `crc32` is None in jobs of version 0.1.
    """

    name: str
    file_name: str
    key: str
    bytes: int
    sha256: str
    media_type: str
    crc32: int | None = None


@dataclass(frozen=True)
class ManifestStem(ManifestFile):
    """One delivered file of audio: a stem, the residual or the resynthesis.

    `peak` is linear full scale; `clipped_samples` counts samples that a fixed-point format could not hold.
    """

    is_residual: bool = False
    peak: float | None = None
    clipped_samples: int = 0


@dataclass(frozen=True)
class StemConfidence:
    """How far a stem is to be believed: the share of its energy that is expected to be the voice's own."""

    stem: str
    mean: Annotated[float | None, Field(description="Over all steps; null when the stem is silent.")]
    step_seconds: float
    values: Annotated[tuple[float | None, ...], Field(description="0..1, at most 64; null where the stem is silent.")]


@dataclass(frozen=True)
class StemScore:
    """A stem measured against the true source that was sent with the recording."""

    stem: str
    si_sdr_db: Annotated[float | None, Field(description="Over all; null when the source is silent.")]
    mixture_si_sdr_db: Annotated[float | None, Field(description="Of the recording itself, for comparison.")]
    frame_seconds: float
    frames_si_sdr_db: Annotated[
        tuple[float | None, ...], Field(description="Step by step, at most 64; null where it is silent.")
    ]


@dataclass(frozen=True)
class ResultWarning:
    """What a person should know before relying on the result."""

    code: Annotated[str, Field(examples=["cut-at-full-scale"])]
    message: Annotated[
        str,
        Field(
            description="A sentence to show.",
            examples=["12 samples of alto were cut at full scale, by up to 1.2 dB; the format wav32f keeps them."],
        ),
    ]
    facts: Annotated[dict[str, Any], Field(description="Its values, by name.")] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What one attempt made. Only what the committed manifest names is visible to anybody.

    Args:
        audio: facts of the input as counted by the worker (AudioFacts as JSON; sample count exact).
        conservation_dbfs: peak of input − (sum of stems + residual) as delivered, in dBFS; None without a residual and
            in lossy formats.
        real_time_factor: seconds of work a second of audio.
        engine: name, device, versions of what ran.
        resynthesis: the mixture as the model sings it again, where it can; no part of the sum of stems and residual.
        previews: of stems and residual, small files to listen to at once.
        pitch: pitch tracks and notes, where the model has them.
        voices: who was taken to sing; stems of others are silent.
        are_voices_detected: True when they were detected, not named.
        views: peaks, confidence, picture and spectrograms.
        confidence: of each stem, in at most some dozens of steps.
        scores: of the stems whose true sources came with the recording.
        warnings: what to know before relying on the result.
    """

    attempt: int
    model_id: str
    model_version: str
    stems: tuple[ManifestStem, ...]
    audio: dict[str, Any]
    conservation_dbfs: float | None
    real_time_factor: float
    wall_seconds: float
    engine: dict[str, Any]
    resynthesis: ManifestStem | None = None
    previews: tuple[ManifestFile, ...] = ()
    pitch: tuple[ManifestFile, ...] = ()
    voices: tuple[str, ...] = ()
    are_voices_detected: bool = False
    views: tuple[ManifestFile, ...] = ()
    confidence: tuple[StemConfidence, ...] = ()
    scores: tuple[StemScore, ...] = ()
    warnings: tuple[ResultWarning, ...] = ()

    @property
    def files(self) -> tuple[ManifestFile, ...]:
        """Everything that was delivered; previews only repeat it."""
        return (*self.stems, *((self.resynthesis,) if self.resynthesis else ()), *self.pitch, *self.views)

    @property
    def parts(self) -> tuple[ManifestStem, ...]:
        """The stems without the residual."""
        return tuple(stem for stem in self.stems if not stem.is_residual)

    @property
    def duration_seconds(self) -> float:
        """Seconds of audio, 0 when not known."""
        return duration_seconds_of(self.audio)

    def to_json(self) -> str:
        """As JSON text."""
        return _MANIFEST.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From JSON text; ValueError when it is not a manifest."""
        return _MANIFEST.validate_json(text)  # type: ignore[return-value]


_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def duration_seconds_of(audio: Mapping[str, Any]) -> float:
    """Seconds of audio by its facts, 0 when not known."""
    num_samples, sample_rate = audio.get("num_samples"), audio.get("sample_rate")
    return num_samples / sample_rate if num_samples and sample_rate else 0.0


class NoteBody(BaseModel):
    """One note of one voice."""

    start_seconds: float
    end_seconds: float
    midi: int = Field(description="Number of the nearest key at the tuning; 69 is A4.", examples=[69])
    f0_hz: float = Field(description="Median of its pitch, as it sounds.", examples=[440.6])


class VoicePitchBody(BaseModel):
    """Pitch of one voice."""

    f0_hz: list[float] = Field(description="One value for each frame, in Hz; 0 where the voice has no pitch.")
    voicing: list[float] | None = Field(None, description="How sure the model is of each, 0..1; only of some models.")
    notes: list[NoteBody] = Field(description="In order of time; none overlap.")


class TuningBody(BaseModel):
    """What the choir is tuned to, over the whole recording and all voices."""

    a4_hz: float = Field(description="What A4 sounds at.", examples=[452.89])
    cents: float = Field(description="The same above 440 Hz, in hundredths of a semitone.", examples=[50.0])


class PitchBody(BaseModel):
    """`pitch.json`: pitch tracks and notes of every delivered voice."""

    hop_seconds: float = Field(description="From one frame to the next; the first is at 0 s.", examples=[0.032])
    num_frames: int
    tuning: TuningBody | None = Field(None, description="None in files of jobs from before it was measured.")
    voices: dict[str, VoicePitchBody] = Field(description="By name of the stem.")


class KeyBody(BaseModel):
    """Which scale the notes keep to, as they are written."""

    name: str = Field(examples=["E flat major"])
    fifths: int = Field(description="Sharps of the signature; flats below 0.", examples=[-3])
    mode: Literal["major", "minor"]
    confidence: float = Field(description="How well the notes fit it, 0..1.")


class BeatBody(BaseModel):
    """One beat."""

    seconds: float
    bar: int = Field(description="From 1; 0 is a pick-up.")
    beat: int = Field(description="Of the bar, from 1.")
    beats_a_minute: float = Field(description="The tempo from here to the next beat, smoothed over three.")


class BarsBody(BaseModel):
    """`bars.json`: beats, bars, tempo and key, from the notes of all delivered voices."""

    beats_a_minute: float | None = Field(description="Median; null where no beats were found.", examples=[76.2])
    beats_a_bar: int = Field(examples=[4])
    key: KeyBody | None = Field(description="null where nobody sings.")
    beats: list[BeatBody]
