"""The digest by which a request is known again: the same recording and options under one Idempotency-Key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from divisi.contract.request import FIT_OPTIONS, OPTIONS, SeparationRequest

# In digests since version 0.1, whatever their values, in this order; of the rest, what is not left out.
_ALWAYS_DIGESTED = ("stem_format", "stems", "include_residual", "lane")
# What does not decide the outcome, or is in the digest in another form.
_NEVER_DIGESTED = frozenset({*_ALWAYS_DIGESTED, *FIT_OPTIONS, "model", "file_name", "webhook_url", "webhook_secret"})


def fingerprint_of(sha256: str, model_ids: Sequence[str], request: SeparationRequest, fit: Mapping[str, Any]) -> str:
    """Digest of all that decides the outcome, however it was written down; options left out do not change it.

    Args:
        sha256: of the recording's bytes.
        model_ids: the models that the request means.
        fit: what is asked of a fit, as the job's record has it.
    """
    asked = {name: _settled(getattr(request, name)) for name in OPTIONS}
    decisive: list[Any] = [sha256, list(model_ids), *(asked[name] for name in _ALWAYS_DIGESTED)]
    decisive += [
        {name: value}
        for name, value in asked.items()
        if name not in _NEVER_DIGESTED and value != _settled(OPTIONS[name].default)
    ]
    if fit:
        decisive.append({"fit": fit})
    if request.webhook_url is not None:
        decisive.append(request.webhook_url)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _settled(value: Any) -> Any:
    """Without order and repetition, which mean nothing."""
    return sorted(set(value)) if isinstance(value, tuple) else value
