"""What is in `pitch.json`."""

from __future__ import annotations

from pydantic import BaseModel, Field


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
