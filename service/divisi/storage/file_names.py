"""Names of files as people see them: cleaned labels of uploads, names of downloads. Never paths, never keys."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

MAX_LABEL_LENGTH = 200


def clean_label(file_name: str | None) -> str | None:
    """What is kept of an upload's file name: its last path part without control characters, at most 200 characters.

    Returns:
        None when nothing is left.
    """
    if file_name is None:
        return None
    last_part = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    # Categories C*: controls, format characters (bidirectional overrides among them), surrogates, unassigned.
    visible = "".join(c for c in last_part if not unicodedata.category(c).startswith("C"))
    label = visible.strip(" .")[:MAX_LABEL_LENGTH].strip(" .")
    return label or None


def download_name(upload_name: str | None, suffix: str) -> str:
    """Name under which a client saves a file: `Ave verum.wav` and `soprano.flac` give `Ave verum - soprano.flac`.

    Args:
        upload_name: the label of the upload, None when it came without a name.
        suffix: the delivered file's own name.
    """
    if not upload_name:
        return suffix
    stem, dot, extension = upload_name.rpartition(".")
    # A short tail without spaces is an extension ("take.wav"); anything else belongs to the title ("No. 5 in D").
    title = stem if dot and stem and 0 < len(extension) <= 5 and extension.isalnum() else upload_name
    return f"{title} - {suffix}"


def content_disposition(name: str) -> str:
    """`Content-Disposition` that saves under `name`: plain ASCII for old clients, `filename*` (RFC 8187) for others."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = "".join(c if c.isalnum() or c in " ._-()" else "_" for c in plain) or "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
