"""The name of an uploaded file, in whichever of the usual forms its client wrote it into `Content-Disposition`.

filename="合唱.wav"                        raw UTF-8, of all browsers, curl, httpx, requests
filename="so %22so%22.wav"                 quotes and line breaks, as browsers escape them (WHATWG)
filename="so \\"so\\".wav"                   as curl escapes them with --form-escape (RFC 9110)
filename="%E5%90%88%E5%94%B1.wav"          all of it escaped, as aiohttp does
filename="=?UTF-8?B?5ZCI5ZSx?="            encoded words, of mail programs and what is built like them (RFC 2047)
filename*=UTF-8''%E5%90%88%E5%94%B1.wav    extended (RFC 8187); goes before the others
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from urllib.parse import unquote_to_bytes

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
