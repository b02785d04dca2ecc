"""What the server answers, as the API's document has it: dictionaries whose keys are known to type checkers."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class File(TypedDict):
    """One file to download; `name` is the stem's, or the file's own."""

    name: str
    href: str
    file_name: str
    bytes: int
    sha256: str
    media_type: str


class Stem(File):
    """One delivered stem."""

    is_residual: bool
    peak: float | None
    clipped_samples: int


class Confidence(TypedDict):
    """How far a stem is to be believed, 0..1; None where it is silent."""

    stem: str
    mean: float | None
    step_seconds: float
    values: list[float | None]


class Score(TypedDict):
    """A stem against the true source that was sent, in dB."""

    stem: str
    si_sdr_db: float | None
    mixture_si_sdr_db: float | None
    frame_seconds: float
    frames_si_sdr_db: list[float | None]


class Mix(TypedDict):
    """Addresses of the practice mixes for one part."""

    part: str
    in_front: str
    without: str


class Track(TypedDict):
    """Address of one spectrogram."""

    name: str
    href: str


class Views(TypedDict):
    """Addresses of what can be looked at."""

    peaks: str
    confidence: str
    report: str
    spectrograms: list[Track]


class ResultWarning(TypedDict):
    """What to know before relying on a result: a slug, a sentence to show, and its values."""

    code: str
    message: str
    facts: dict[str, Any]


class Report(TypedDict):
    """How the separation went; servers before 0.2 give no warnings."""

    conservation_dbfs: float | None
    real_time_factor: float
    wall_seconds: float
    voices: list[str]
    are_voices_detected: bool
    engine: dict[str, Any]
    warnings: NotRequired[list[ResultWarning]]


class Job(TypedDict):
    """One job; stems and all that follows are empty or None until it has succeeded."""

    id: str
    state: JobState
    progress: float
    stage: str | None
    position: int | None
    eta_seconds: float | None
    attempt: int
    model: str
    model_version: str
    file_name: str
    input: dict[str, Any]
    group: str | None
    submitted_at: str
    ended_at: str | None
    expires_at: str | None
    stems: list[Stem]
    resynthesis: Stem | None
    pitch: list[File]
    confidence: list[Confidence]
    scores: list[Score]
    mixes: list[Mix]
    views: Views | None
    report: Report | None
    problem: NotRequired[dict[str, Any] | None]


class Cell(TypedDict):
    """One voice as one system gives it."""

    voice: str
    stem: Stem | None
    si_sdr_db: float | None


class System(TypedDict):
    """One model on the recording."""

    model: str
    title: str
    job: Job
    cells: list[Cell]
    resynthesis: Stem | None
    mean_si_sdr_db: float | None


class Comparison(TypedDict):
    """Voices by systems."""

    group: str
    file_name: str
    state: Literal["running", "ended"]
    voices: list[str]
    references: list[File]
    systems: list[System]
    table: str
    folder: str


class JobPage(TypedDict):
    """Jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None
