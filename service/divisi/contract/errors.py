"""The one tree of errors, and the one table of their codes.

The class of an error says whose fault it is, the code which one it is, the message what to do. What a code means
elsewhere stands in `KINDS`, once: gateway, clients, command line and page read it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


class DivisiError(Exception):
    """Base of all errors that divisi raises on purpose.

    Args:
        message: for a person; carries the offending value and the limit
            ("file lasts 2410 s; this service accepts 1200 s").
        code: stable slug for machines, such as `audio-too-long`.
        facts: values for machines (JSON types), such as `limit_seconds=1200`.
    """

    default_code = "internal-error"

    def __init__(self, message: str, *, code: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.facts = facts


class InputError(DivisiError):
    """The caller's input cannot be accepted; the same input will be refused again."""

    default_code = "invalid-input"


class NotFoundError(DivisiError):
    """What was named does not exist (any more)."""

    default_code = "not-found"


class ConflictError(DivisiError):
    """The request contradicts the present state, such as an Idempotency-Key used for something else."""

    default_code = "conflict"


class AccessError(DivisiError):
    """Whoever calls has not shown that they may do this; asking again in the same way is refused again."""

    default_code = "access-refused"


class LimitError(DivisiError):
    """The caller has used up what a caller is given; the fact `retry_after_seconds` says when to come back."""

    default_code = "rate-limited"


class ModelError(DivisiError):
    """A model, its bundle or its engine is at fault: ours to mend."""

    default_code = "model-error"


class UnavailableError(DivisiError):
    """A service that divisi leans on (Redis, object store, model server) is away; try the same again later."""

    default_code = "unavailable"


Fault = Literal["caller", "service"]
"""Whose fault an error is: the caller's, who must change something, or the service's, which must be mended."""

_STATUS_BY_CLASS: tuple[tuple[type[DivisiError], int], ...] = (
    (InputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (UnavailableError, 503),
    (AccessError, 403),
    (LimitError, 429),
    (ModelError, 500),
)


@dataclass(frozen=True)
class Kind:
    """What one code means everywhere.

    Attributes:
        error: its class; where the same code is raised as another class too, the class of a job that fails with it.
        status: HTTP status, where it is not the one of the class.
        retry_seconds: when the same request may be worth another try; None: not before something was changed.
        hint: what a person can do, where there is more to say than for any error of its class.
        meets_all: every recording for which the same is asked meets it, whatever it holds.
    """

    error: type[DivisiError]
    status: int | None = None
    retry_seconds: int | None = None
    hint: str = ""
    meets_all: bool = False

    @property
    def fault(self) -> Fault:
        """Whose fault it is."""
        return "service" if issubclass(self.error, (ModelError, UnavailableError)) else "caller"

    @property
    def advice(self) -> str:
        """What a person can do, in a sentence or two."""
        if self.hint:
            return self.hint
        if issubclass(self.error, UnavailableError):
            return "The service is away for a moment. Try again shortly."
        if self.fault == "service":
            return "Try again; if it stays, report it to whoever runs this service."
        return "Change what it names, then try again."


OUTAGE_SECONDS = 5
_ANOTHER_KEY = "Enter another API key, or ask whoever runs this service for one."
_SHORTER = "Cut the recording into shorter parts and send them one by one."

KINDS: dict[str, Kind] = {
    # The recording, and what is sent beside it.
    "not-audio": Kind(InputError, 415, hint="Choose a recording: WAV, FLAC, MP3, Ogg, AIFF; many services take M4A."),
    "unsupported-format": Kind(InputError, 415, hint="Save the recording as WAV or FLAC and send that."),
    "undecodable": Kind(InputError, hint="The file is damaged or not complete. Export it again, or send another copy."),
    "empty-audio": Kind(InputError, hint="There is no sound in this file. Choose another one."),
    "non-finite-samples": Kind(InputError, hint="The file holds numbers that are no sound. Export it again."),
    "samples-too-large": Kind(InputError, hint="The file holds numbers that are no sound. Export it again."),
    "audio-too-long": Kind(InputError, hint=_SHORTER),
    "audio-too-large": Kind(InputError, hint=_SHORTER),
    "too-many-channels": Kind(InputError, hint="Mix the recording down, or send fewer of its channels."),
    "invalid-sample-rate": Kind(InputError, hint="Save the recording at 44.1 or 48 kHz and send that."),
    "files-do-not-match": Kind(InputError, hint="Send files of one recording: as long as each other, at one rate."),
    "reference-mismatch": Kind(
        InputError,
        hint="True sources must be as long as the recording and of its sample rate; leave them out, or send others.",
    ),
    "upload-too-large": Kind(InputError, 413, hint="Send a shorter recording, or the same one as FLAC or MP3."),
    "upload-too-slow": Kind(InputError, 408, retry_seconds=1, hint="Try again over a faster connection."),
    "malformed-upload": Kind(InputError, 400),
    "unsupported-media-type": Kind(InputError, 415),
    "missing-file": Kind(InputError, hint="Choose a recording."),
    "source-and-file": Kind(InputError, hint="Send the recording or its address, not both."),
    "source-refused": Kind(InputError, hint="Name a public address, or send the recording itself."),
    "source-failed": Kind(InputError, hint="Check that the address opens in a browser, or send the recording itself."),
    "target-refused": Kind(InputError, hint="Name a bucket that whoever runs this service has allowed."),
    "source-too-slow": Kind(InputError, 408, hint="Try again later, or send the recording itself."),
    "too-many-files": Kind(InputError),
    # What is asked of it.
    "invalid-input": Kind(InputError),
    "invalid-request": Kind(InputError),
    "invalid-header": Kind(InputError, 400),
    "unknown-model": Kind(InputError, meets_all=True),
    "unknown-stem": Kind(InputError, meets_all=True),
    "unknown-voice": Kind(InputError, meets_all=True),
    "unknown-reference": Kind(InputError),
    "unsupported-channels": Kind(InputError, hint="Choose another model, or mix the recording down."),
    "unsupported-stem-format": Kind(InputError),
    "voices-not-supported": Kind(InputError, hint="Choose “Everybody”, or another model.", meets_all=True),
    "fit-not-supported": Kind(InputError, meets_all=True),
    "invalid-fit-option": Kind(InputError, meets_all=True),
    "invalid-spot": Kind(InputError),
    "too-few-channels": Kind(InputError, hint="Ask for fewer sources, or send the recording with all its channels."),
    "too-many-sources": Kind(InputError),
    "invalid-cursor": Kind(InputError),
    "invalid-event-id": Kind(InputError),
    "range-not-satisfiable": Kind(InputError, 416),
    "idempotency-key-reused": Kind(ConflictError, 422),
    "idempotency-key-in-flight": Kind(ConflictError, retry_seconds=1),
    "webhook-url-missing": Kind(InputError),
    "webhook-url-refused": Kind(InputError),
    "webhook-secret-missing": Kind(InputError),
    "invalid-webhook-secret": Kind(InputError),
    # Who asks, and how much.
    "access-refused": Kind(AccessError),
    "key-missing": Kind(AccessError, 401, hint="This service asks for an API key: enter yours."),
    "key-invalid": Kind(AccessError, 401, hint=_ANOTHER_KEY),
    "key-expired": Kind(AccessError, 401, hint=_ANOTHER_KEY),
    "scope-missing": Kind(AccessError, hint="Enter a key that may do this."),
    "webhook-unverified": Kind(AccessError),
    "link-invalid": Kind(AccessError, hint="Open the whole link, as it was sent, or ask for a new one."),
    "link-expired": Kind(AccessError, 410, hint="Ask whoever sent it for a new one."),
    "rate-limited": Kind(LimitError, retry_seconds=60, hint="Wait a minute, then try again."),
    "too-many-unfinished-jobs": Kind(LimitError, retry_seconds=60, hint="Wait until some of your jobs are done."),
    "upload-quota-used-up": Kind(LimitError, retry_seconds=3600, hint="Try again tomorrow."),
    # Jobs and what they made.
    "not-found": Kind(NotFoundError),
    "conflict": Kind(ConflictError),
    "unknown-job": Kind(NotFoundError, hint="It was erased, or its time was over. Separate the recording again."),
    "unknown-group": Kind(NotFoundError, hint="It was erased, or its time was over. Separate the recording again."),
    "unknown-part": Kind(NotFoundError),
    "too-many-mixes": Kind(ConflictError, hint="Use those that the job has already, or the usual ones."),
    "rehearsal-too-large": Kind(InputError, 413, hint="Keep fewer passages, or give them shorter names."),
    "rehearsal-changed": Kind(ConflictError, 412, hint="Look at what is kept now, then keep yours again."),
    "too-many-kept-jobs": Kind(ConflictError, hint="Stop keeping a job that nobody needs any more."),
    "unknown-key": Kind(NotFoundError),
    "no-pitch": Kind(NotFoundError, hint="Choose a model that follows pitches, such as chorus."),
    "no-recording": Kind(NotFoundError),
    "no-preview": Kind(NotFoundError, hint="Play the stem itself."),
    "no-view": Kind(NotFoundError),
    "object-not-found": Kind(NotFoundError),
    "job-not-finished": Kind(ConflictError, retry_seconds=5, hint="Wait until the job is done."),
    "job-not-ended": Kind(ConflictError, retry_seconds=5, hint="Cancel the job first, or wait until it is done."),
    "job-ended": Kind(ConflictError),
    "job-failed": Kind(ConflictError),
    "job-cancelled": Kind(ConflictError),
    "not-a-dead-letter": Kind(ConflictError),
    # What is away for a while.
    "unavailable": Kind(UnavailableError, retry_seconds=OUTAGE_SECONDS),
    "not-ready": Kind(UnavailableError, retry_seconds=OUTAGE_SECONDS),
    "redis-unavailable": Kind(UnavailableError, retry_seconds=OUTAGE_SECONDS),
    "redis-missing": Kind(UnavailableError),
    "store-unavailable": Kind(UnavailableError, retry_seconds=OUTAGE_SECONDS),
    "disk-full": Kind(UnavailableError, retry_seconds=60),
    "model-server-away": Kind(UnavailableError, retry_seconds=OUTAGE_SECONDS),
    "download-failed": Kind(UnavailableError),
    "queue-full": Kind(UnavailableError, retry_seconds=30, hint="Many people are waiting. Try again in a minute."),
    "no-worker-for-model": Kind(
        UnavailableError,
        retry_seconds=60,
        hint="Choose another model, or ask whoever runs this service for a worker that has it.",
    ),
    # What is ours to mend.
    "internal-error": Kind(ModelError),
    "model-error": Kind(ModelError),
    "damaged-bundle": Kind(ModelError, meets_all=True),
    "damaged-card": Kind(ModelError, meets_all=True),
    "damaged-stem": Kind(ModelError),
    "missing-artifact": Kind(ModelError),
    "missing-library": Kind(ModelError, meets_all=True),
    "missing-model": Kind(ModelError, meets_all=True),
    "no-models": Kind(ModelError, meets_all=True),
    "unknown-engine": Kind(ModelError, meets_all=True),
    "engine-closed": Kind(ModelError, meets_all=True),
    "engine-failed": Kind(ModelError),
    "non-finite-estimates": Kind(ModelError),
    "wrong-device": Kind(ModelError, meets_all=True),
    "wrong-input": Kind(ModelError),
    "wrong-model": Kind(ModelError),
    "wrong-output": Kind(ModelError),
    "wrong-segment": Kind(ModelError),
    "wrong-signature": Kind(ModelError),
    "out-of-memory": Kind(ModelError, hint="Try a shorter recording; if it stays, ask whoever runs this service."),
    "job-timeout": Kind(ModelError, hint="Try a shorter recording, or a smaller model."),
    "worker-lost": Kind(ModelError, hint="Separate the recording again."),
    "worker-crashed": Kind(ModelError, hint="Separate the recording again."),
    "worker-stopped": Kind(ModelError, hint="Separate the recording again."),
    # At the terminal of one machine.
    "no-such-file": Kind(InputError),
    "not-a-folder": Kind(InputError),
    "mix-mismatch": Kind(InputError),
    "would-replace": Kind(InputError),
    "would-replace-recording": Kind(InputError),
    "work-dir-unwritable": Kind(InputError),
    "data-folder-in-use": Kind(InputError),
    "port-taken": Kind(InputError),
    "invalid-address": Kind(InputError),
    "invalid-store-url": Kind(InputError),
    "invalid-key": Kind(InputError),
    "invalid-reference": Kind(InputError),
    "too-few-models": Kind(InputError),
    "no-jobs": Kind(InputError),
    "bundle-exists": Kind(ConflictError),
}


def kind_of(code: str) -> Kind:
    """The row of a code; that of `internal-error` for a code that is not in the table."""
    return KINDS.get(code, KINDS["internal-error"])


def status_of(error: DivisiError) -> int:
    """HTTP status that an error is answered with: its code's own, else that of its class."""
    kind = KINDS.get(error.code)
    return kind.status if kind and kind.status else status_of_class(type(error))


def status_of_class(kind: type[DivisiError]) -> int:
    """HTTP status of errors of a class whose code has none of its own."""
    return next((status for base, status in _STATUS_BY_CLASS if issubclass(kind, base)), 500)


def class_of(code: str | None, status: int) -> type[DivisiError]:
    """The class that an answer of the service stands for: that of its status, as the code's own class may differ."""
    classes = {status: base for base, status in _STATUS_BY_CLASS}
    kind = KINDS.get(code or "")
    if kind and status == (kind.status or status_of_class(kind.error)):
        return kind.error
    if status in classes:
        return classes[status]
    return UnavailableError if status >= 500 else InputError
