"""What the server answers, as dictionaries whose keys are known to type checkers.

Made of `divisi.contract.answers` by `python -m tests.contract.test_client_records`: change that, not this.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Lane = Literal["interactive", "batch"]
Layout = Literal["front", "without", "left", "right"]


class Input(TypedDict):
    """What is known of the recording."""

    container: str | None
    codec: str | None
    sample_rate: int | None
    num_channels: int | None
    num_samples: int | None
    duration_seconds: float | None
    exact: bool | None


class Preview(TypedDict):
    """A small file to listen to at once: MP3 of a constant rate."""

    href: str
    bytes: int
    media_type: str


class Stem(TypedDict):
    """One delivered stem."""

    name: str
    href: str
    file_name: str
    bytes: int
    sha256: str
    media_type: str
    is_residual: bool
    peak: float | None
    clipped_samples: int
    preview: NotRequired[Preview | None]


class File(TypedDict):
    """One file to download."""

    name: str
    href: str
    file_name: str
    bytes: int
    sha256: str
    media_type: str


class Track(TypedDict):
    """A picture of one track: the mixture, a stem or the residual."""

    name: str
    href: str


class Views(TypedDict):
    """What a page draws without decoding audio."""

    peaks: str
    confidence: str
    report: str
    spectrograms: list[Track]


class Confidence(TypedDict):
    """How far a stem is to be believed: the share of its energy that is expected to be the voice's own."""

    stem: str
    mean: float | None
    step_seconds: float
    values: list[float | None]


class Score(TypedDict):
    """A stem measured against the true source that was sent with the recording."""

    stem: str
    si_sdr_db: float | None
    mixture_si_sdr_db: float | None
    frame_seconds: float
    frames_si_sdr_db: list[float | None]
    reference: File | None


class Mix(TypedDict):
    """Practice mixes for one part; made when first asked for."""

    part: str
    in_front: str
    without: str


class ResultWarning(TypedDict):
    """What a person should know before relying on the result."""

    code: str
    message: str
    facts: dict[str, Any]


class Report(TypedDict):
    """How the separation went."""

    conservation_dbfs: float | None
    warnings: NotRequired[list[ResultWarning]]
    real_time_factor: float
    wall_seconds: float
    voices: list[str]
    are_voices_detected: bool
    engine: dict[str, Any]


class FieldProblem(TypedDict):
    """What is wrong with one part of a request."""

    pointer: str
    detail: str


class Problem(TypedDict):
    """RFC 9457 problem document; `code` is the part to act on."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fault: Literal["caller", "service"]
    advice: str
    instance: str | None
    request_id: str | None
    facts: dict[str, Any]
    errors: list[FieldProblem]


class Links(TypedDict):
    """Where to go from here."""

    self: str
    events: str
    archive: str | None
    rehearsal: NotRequired[str | None]
    tracks: NotRequired[str | None]


class Job(TypedDict):
    """One job: what was asked, how far it got, and what came of it."""

    id: str
    state: JobState
    progress: float
    stage: str | None
    position: int | None
    eta_seconds: float | None
    attempt: int
    model: str
    model_version: str
    include_residual: bool
    stem_format: str
    lane: Lane
    requested_stems: list[str] | None
    fit: dict[str, Any] | None
    requested_voices: list[str] | Literal["auto"] | None
    group: str | None
    file_name: str
    input: Input
    submitted_at: str
    started_at: str | None
    ended_at: str | None
    expires_at: str | None
    is_kept: NotRequired[bool]
    stems: list[Stem]
    resynthesis: Stem | None
    pitch: list[File]
    views: Views | None
    confidence: list[Confidence]
    scores: list[Score]
    mixes: list[Mix]
    recording: File | None
    report: Report | None
    problem: Problem | None
    links: Links


class JobPage(TypedDict):
    """One page of jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None


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
    submitted_at: str
    state: Literal["running", "ended"]
    input: Input
    voices: list[str]
    references: list[File]
    systems: list[System]
    table: str
    folder: str


class Passage(TypedDict):
    """A stretch of the recording that has a name: a loop, or a section of the piece."""

    name: str
    start_seconds: float
    duration_seconds: float


class Rehearsal(TypedDict):
    """All that is kept; replaced as a whole."""

    passages: list[Passage]
    beats_per_minute: float | None
    count_in_beats: int


class LearningTrack(TypedDict):
    """One learning track."""

    part: str | None
    layout: Layout | None
    title: str
    file_name: str
    href: str
    bytes: int | None
    sha256: str | None


class LearningTracks(TypedDict):
    """Learning tracks, made alike; the first look begins to make them."""

    state: Literal["making", "ready"]
    progress: float
    tracks: list[LearningTrack]
    archive: str
