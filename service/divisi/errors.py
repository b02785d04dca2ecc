"""The one tree of errors: the class says whose fault it is, the code which one it is, the message what to do.

Ground floor: imported by every room, imports none. HTTP statuses live in `gateway/problems.py` alone,
exit codes in `cli.py`.
"""

from __future__ import annotations

from typing import Any


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
