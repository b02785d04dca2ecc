"""Names: every key in the object store, the labels of uploads, and the names that downloads are saved under.

    jobs/{job_id}/mixture                          the upload, as it came
    jobs/{job_id}/references/{stem}                a true source that came with it
    jobs/{job_id}/accepted.json                    the job as accepted, to rebuild the queue from
    jobs/{job_id}/rehearsal.json                   what a choir keeps with it
    jobs/{job_id}/attempts/{attempt}/{file_name}   what one attempt wrote; visible only through the committed manifest
    uploads/{upload}/mixture, …/references/{stem}  the same of an upload that several jobs share
    uploads/{upload}/jobs/{job_id}                 a job that needs it still; empty

Keys are built from checked parts only, so that nothing a caller sends can leave its job's prefix. What people see,
labels and names of downloads, is never a path and never a key.
"""

from __future__ import annotations

import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import quote, unquote_to_bytes

from divisi.contract.errors import InputError

JOBS_PREFIX, UPLOADS_PREFIX = "jobs", "uploads"
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_key(key: str) -> str:
    """The key itself when every part is a plain name, else InputError (code `invalid-key`)."""
    for part in key.split("/"):
        _part(part)
    return key


def job_prefix(job_id: str) -> str:
    """Prefix of everything that belongs to one job; deleting it erases the job's audio."""
    return f"{JOBS_PREFIX}/{_part(job_id)}"


def upload_prefix(upload: str) -> str:
    """Prefix of an upload that several jobs share."""
    return f"{UPLOADS_PREFIX}/{_part(upload)}"


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
    return f"{_recording_prefix(job_id, upload)}/references/{_part(stem)}"


def accepted_key(job_id: str) -> str:
    """The accepted job as JSON, written before the caller gets an answer."""
    return f"{job_prefix(job_id)}/accepted.json"


def rehearsal_key(job_id: str) -> str:
    """What a choir keeps with a job, as JSON."""
    return f"{job_prefix(job_id)}/rehearsal.json"


def attempt_prefix(job_id: str, attempt: int) -> str:
    """Prefix of what one attempt (1, 2, …: the fencing token) writes."""
    return f"{job_prefix(job_id)}/attempts/{attempt:d}"


def stem_key(job_id: str, attempt: int, file_name: str) -> str:
    """One delivered file of one attempt, such as `soprano.wav`."""
    return f"{attempt_prefix(job_id, attempt)}/{_part(file_name)}"


def _recording_prefix(job_id: str, upload: str | None) -> str:
    return job_prefix(job_id) if upload is None else upload_prefix(upload)


def _part(name: str) -> str:
    if not _PART.fullmatch(name):
        raise InputError(f"{name!r} cannot be part of a key of the object store", code="invalid-key")
    return name


MAX_LABEL_LENGTH = 200
# Label of a recording that came without a name.
UNNAMED = "recording"
# Of a download's name, UTF-8: with the file's own name and the mark it stays below the 255 that file systems take.
MAX_TITLE_BYTES = 150
MARK_LENGTH = 6
# Joiners, without which Persian, Hindi and emoji are spelt differently.
_JOINERS = "\u200c\u200d"
# What else breaks a line, or cannot be seen: controls, format characters (bidirectional overrides), line separators.
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp"})
_WINDOWS_PATH = re.compile(r"(?:[A-Za-z]:|\.{0,2})\\")
# What Windows takes in no name, and path separators.
_ILLEGAL = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\..*)?", re.IGNORECASE)
# In a quoted string of a header, safe with clients that read it in their own way.
_PLAIN = frozenset(" ._-()[],&'+=@!#")


def clean_label(file_name: str | None) -> str | None:
    """What is kept of an upload's file name: its last path part without control characters, at most 200 characters.

    A longer one is cut in front of its extension; what is no Unicode text becomes a replacement character.

    Returns:
        None when nothing is left.
    """
    if file_name is None:
        return None
    if _WINDOWS_PATH.match(file_name):
        file_name = file_name.replace("\\", "/")
    last_part = file_name.rsplit("/", 1)[-1]
    label = "".join(map(_visible, last_part)).strip()
    if len(label) > MAX_LABEL_LENGTH:
        title, extension = _split(label)
        label = title[: MAX_LABEL_LENGTH - len(extension)].rstrip() + extension
    return label if label.strip(" .") else None


def download_name(label: str, own_name: str, job_id: str) -> str:
    """Name under which a client saves a file: `Ave verum.wav` and `soprano.flac` give `Ave verum - soprano.flac`.

    Legal on every system and at most 255 bytes of UTF-8; where that took something of the label, or there was none, a
    mark of the job stands in its place, so that downloads of different recordings stay apart.

    Args:
        label: of the upload.
        own_name: the delivered file's own.
    """
    return _joined(label, _legal(_split(label)[0]), own_name, job_id)


def song_title(label: str) -> str:
    """What a recording is called, without the extension of its file."""
    return _split(label)[0]


def content_disposition(label: str, own_name: str, job_id: str) -> str:
    """`Content-Disposition` that saves under the download's name: `filename*` (RFC 8187) has all of it.

    Clients that read only `filename` find what ASCII holds of it there, marked likewise.
    """
    plain = _joined(label, _ascii(_legal(_split(label)[0])), own_name, job_id)
    full = quote(download_name(label, own_name, job_id), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{full}"


def legal_name(name: str) -> str:
    """The name as Windows takes it, too: `aux.wav` gives `_aux.wav`."""
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return "" if category in _INVISIBLE and character not in _JOINERS else character


def _split(label: str) -> tuple[str, str]:
    """Title and extension. A short tail without spaces is one ("take.wav"); others are titles' ("No. 5 in D")."""
    title, dot, tail = label.rpartition(".")
    is_extension = 0 < len(tail) <= 5 and tail.isascii() and tail.isalnum() and not tail.isdigit()
    return (title, dot + tail) if title and is_extension else (label, "")


def _legal(title: str) -> str:
    # A dot in front hides a file, a dash makes it an option of whatever command it is given to.
    title = re.sub(r"^[.-]", "_", _ILLEGAL.sub("_", title))
    cut = title.encode("utf-8", "replace")[:MAX_TITLE_BYTES].decode("utf-8", "ignore")
    return cut.rstrip(" .") if cut != title else title


def _ascii(title: str) -> str:
    return "".join(map(_ascii_of, unicodedata.normalize("NFC", title)))


def _ascii_of(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(c if c.isalnum() or c in _PLAIN else "_" for c in plain) or "_"


def _joined(label: str, title: str, own_name: str, job_id: str) -> str:
    is_whole = title == _split(label)[0] and label != UNNAMED
    mark = "" if is_whole else f" ({job_id[-MARK_LENGTH:]})"
    return legal_name(f"{title}{mark} - {own_name}")


_PARAMETER = re.compile(
    rb';[ \t]*(filename\*?)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"(?=[ \t]*(?:;|$))|[^;]*)', re.IGNORECASE | re.DOTALL
)
# A backslash in front of anything else belongs to a path of Windows.
_ESCAPED = re.compile(rb'\\(["\\])')
_EXTENDED = re.compile(rb"([\w.:+-]{1,40})'[^']*'(.*)", re.DOTALL)
_ENCODED_WORDS = re.compile(r"(?:=\?[^?\s]{1,40}\?[bq]\?[^?]*\?=\s*)+", re.IGNORECASE)
# What an encoder leaves that escapes all it may. Text that people wrote with a % in it hardly looks like that.
_ALL_ESCAPED = re.compile(rb"(?:[\w.~-]|%[0-9A-F]{2})+", re.ASCII)
_ESCAPED_BY_BROWSERS = re.compile(r"%(?:22|0D|0A)")
# Encoded words in encodings that take long to decode are no names; no system has longer ones.
_LONGEST_ENCODED = 4096


def file_name_in(disposition: bytes) -> str | None:
    """The file's name in a header's value; empty when the client left it so, None when it named none."""
    found: dict[bytes, bytes] = {}
    for name, value in _PARAMETER.findall(b";" + disposition.partition(b";")[2]):
        found.setdefault(name.lower(), value.strip())
    extended = _extended(found.get(b"filename*", b""))
    if extended is not None:
        return extended
    return _plain(found[b"filename"]) if b"filename" in found else None


def _extended(value: bytes) -> str | None:
    match = _EXTENDED.fullmatch(_unquoted(value))
    return None if match is None else _decoded(unquote_to_bytes(match[2]), match[1].decode())


def _plain(value: bytes) -> str:
    name = _ESCAPED.sub(rb"\1", _unquoted(value))
    if _ALL_ESCAPED.fullmatch(name) and not (unescaped := unquote_to_bytes(name)).isascii():
        try:
            return unescaped.decode("utf-8")
        except UnicodeDecodeError:
            pass
    # Old clients send names in other encodings; a name is only a label, no reason to refuse.
    text = name.decode("utf-8", "replace")
    if _ENCODED_WORDS.fullmatch(text) and (words := _encoded_words(text)) is not None:
        return words
    return _ESCAPED_BY_BROWSERS.sub(lambda escape: unquote_to_bytes(escape[0]).decode(), text)


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) >= 2 and value[:1] == value[-1:] == b'"' else value


def _encoded_words(text: str) -> str | None:
    try:
        words = decode_header(text)
    except (HeaderParseError, ValueError):
        return None
    decoded = [word if isinstance(word, str) else _decoded(word, encoding or "ascii") for word, encoding in words]
    return None if None in decoded else "".join(word for word in decoded if word is not None)


def _decoded(data: bytes, encoding: str) -> str | None:
    """None for an encoding that is none."""
    try:
        return data[:_LONGEST_ENCODED].decode(encoding, "replace")
    except (LookupError, ValueError):
        return None
