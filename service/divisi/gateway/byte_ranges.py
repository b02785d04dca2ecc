"""HTTP byte ranges and conditions on entity tags (RFC 9110), as far as stems need them: one range, strong tags."""

from __future__ import annotations

import re

from divisi.contract.errors import InputError

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,20})-(\d{0,20})[ \t]*")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The stretch (start, end; end exclusive) that a Range header asks for.

    Returns:
        None when there is nothing to honour: no header, another unit, several ranges, nonsense. RFC 9110 has all of
        these answered with the whole.

    Raises:
        InputError: `range-not-satisfiable`, when no byte lies in the range.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        message = f"{header!r} asks for nothing of the {size} bytes there are"
        raise InputError(message, code="range-not-satisfiable", content_range=f"bytes */{size}")
    return start, end


def matches_any(header: str | None, tag: str) -> bool:
    """True when an If-None-Match header lists the tag, weak or strong, or is `*`."""
    if header is None:
        return False
    listed = [item.strip().removeprefix("W/") for item in header.split(",")]
    return "*" in listed or tag in listed
