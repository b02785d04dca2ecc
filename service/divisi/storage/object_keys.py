"""Every key name in the object store, in one place.

    jobs/{job_id}/mixture                          the upload, as it came
    jobs/{job_id}/references/{stem}                a true source that came with it
    jobs/{job_id}/accepted.json                    the job as accepted, to rebuild the queue from
    jobs/{job_id}/attempts/{attempt}/{file_name}   what one attempt wrote; visible only through the committed manifest
    uploads/{upload}/mixture, …/references/{stem}  the same of an upload that several jobs share
    uploads/{upload}/jobs/{job_id}                 a job that needs it still; empty

Keys are built from checked parts only, so that nothing a caller sends can leave its job's prefix.
"""

from __future__ import annotations

import re

from divisi.contract.errors import InputError

JOBS_PREFIX, UPLOADS_PREFIX = "jobs", "uploads"
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_key(key: str) -> str:
    """The key itself when every part is a plain name, else InputError (code `invalid-key`)."""
    if not all(_PART.fullmatch(part) for part in key.split("/")):
        raise InputError(f"{key!r} is not a key of the object store", code="invalid-key")
    return key


def job_prefix(job_id: str) -> str:
    """Prefix of everything that belongs to one job; deleting it erases the job's audio."""
    return check_key(f"{JOBS_PREFIX}/{_part(job_id)}")


def upload_prefix(upload: str) -> str:
    """Prefix of an upload that several jobs share."""
    return check_key(f"{UPLOADS_PREFIX}/{_part(upload)}")


def sharers_prefix(upload: str) -> str:
    """Prefix of the marks of the jobs that need an upload."""
    return f"{upload_prefix(upload)}/jobs"


def sharer_key(upload: str, job_id: str) -> str:
    """Mark of one job that needs an upload."""
    return f"{sharers_prefix(upload)}/{_part(job_id)}"


def mixture_key(job_id: str, upload: str | None = None) -> str:
    """The uploaded recording, byte for byte; of the job's own, or of an upload that it shares."""
    return f"{_recording_prefix(job_id, upload)}/mixture"


def reference_key(job_id: str, stem: str, upload: str | None = None) -> str:
    """The uploaded true source of a stem, byte for byte, likewise."""
    return check_key(f"{_recording_prefix(job_id, upload)}/references/{_part(stem)}")


def accepted_key(job_id: str) -> str:
    """The accepted job as JSON, written before the caller is told so."""
    return f"{job_prefix(job_id)}/accepted.json"


def attempt_prefix(job_id: str, attempt: int) -> str:
    """Prefix of what one attempt (1, 2, …: the fencing token) writes."""
    return f"{job_prefix(job_id)}/attempts/{attempt:d}"


def stem_key(job_id: str, attempt: int, file_name: str) -> str:
    """One delivered file of one attempt, such as `soprano.wav`."""
    return check_key(f"{attempt_prefix(job_id, attempt)}/{_part(file_name)}")


def _recording_prefix(job_id: str, upload: str | None) -> str:
    return job_prefix(job_id) if upload is None else upload_prefix(upload)


def _part(name: str) -> str:
    if not _PART.fullmatch(name):
        raise InputError(f"{name!r} cannot be part of a key", code="invalid-key")
    return name
