"""Whether a true source fits its recording, so that a stem can be measured against it."""

from __future__ import annotations

from divisi.contract.errors import InputError


def check_true_source(stem: str, source_rate: int, source_channels: int, sample_rate: int, num_channels: int) -> None:
    """InputError (`reference-mismatch`) unless a source of this rate and these channels fits the recording's."""
    if source_rate != sample_rate:
        raise mismatch(stem, f"has {source_rate} Hz; the recording has {sample_rate} Hz")
    if source_channels not in (1, num_channels):
        raise mismatch(stem, f"has {source_channels} channels; the recording has {num_channels}")


def mismatch(stem: str, how: str) -> InputError:
    """The error `reference-mismatch`; `how` goes on after the source's name."""
    return InputError(f"the true source of {stem!r} {how}", code="reference-mismatch", stem=stem)
