"""Which container a file is, by its bytes alone: names and media types from outside are not believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from divisi.audio.adts_frames import read_adts_stream
from divisi.audio.media_boxes import begins_with_box
from divisi.audio.mpeg_frames import find_mpeg_stream
from divisi.audio.spliced_file import SplicedFile
from divisi.audio.tags import end_of_front_tags, start_of_tags_behind
from divisi.contract.errors import InputError

_HEAD_LENGTH = 400

_BY_MAGIC = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b"\x1a\x45\xdf\xa3": "webm"}
# Containers that say themselves where their sound ends; the others are read until tags begin.
_SAYS_ITS_LENGTH = frozenset({"wav", "rf64", "aiff", "caf", "m4a", "webm"})

# Things people take for recordings; the answer names them instead of saying "not audio".
_FOREIGN = {
    b"MThd": "a MIDI file, which holds notes and no sound",
    b"\x30\x26\xb2\x75": "a Windows Media file",
    b".snd": "an AU file",
    b"riff": "a Wave64 file",
    b"wvpk": "a WavPack file",
    b"MAC ": "a Monkey's Audio file",
    b"MPCK": "a Musepack file",
    b"TTA1": "a True Audio file",
    b"DSD ": "a DSD file",
    b"FRM8": "a DSD file",
    b"Crea": "a Creative Voice file",
    b"NIST": "a NIST SPHERE file",
    b".RMF": "a RealMedia file",
    b"FLV\x01": "a Flash video",
    b"#!AM": "an AMR file",
    b"\0\0\x01\xba": "an MPEG program stream",
    b"\x7f\xfe\x80\x01": "a DTS file",
    b"\x06\x0e\x2b\x34": "an MXF file",
    b".SoX": "a file in SoX's own format",
}
# Packets of MPEG transport streams begin with this byte; cameras put four bytes of time in front of each.
_TRANSPORT_SYNC = b"G"
_TRANSPORT_PACKETS = ((0, 188), (4, 192))


@dataclass(frozen=True)
class Sniffed:
    """Attributes: `container`, as in AudioFacts; `sound`: the bytes between tags in front and behind."""

    container: str
    sound: range


def sniff(path: Path) -> Sniffed:
    """Names the container.

    Raises:
        InputError: `empty-audio` (no bytes), `not-audio`, `unsupported-format` (audio of a kind that nothing here
            reads).
    """
    with path.open("rb") as file:
        start = end_of_front_tags(file)
        file.seek(start)
        head = file.read(_HEAD_LENGTH)
        if not head:
            what = "holds a tag, or zeros, and no audio" if start else "is empty"
            raise InputError(f"the file {what}", code="empty-audio")
        container = _container_of(head)
        file_bytes = file.seek(0, 2)
        end = file_bytes if container in _SAYS_ITS_LENGTH else start_of_tags_behind(file, start)
    if container is None:
        return _find_frames(path, range(start, end))
    return Sniffed(container, range(start, end))


def _container_of(head: bytes) -> str | None:
    magic = head[:4]
    if magic in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return "wav"
    if magic in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "rf64"
    if magic == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if magic in _BY_MAGIC:
        return _BY_MAGIC[magic]
    if begins_with_box(head):
        return "m4a"
    if magic == b"RIFF" and head[8:12] == b"AVI ":
        raise InputError("the file is an AVI film; it cannot be read", code="unsupported-format")
    if head[0] == 0x56 and head[1] & 0xE0 == 0xE0:
        raise InputError("the file is AAC in LATM; it cannot be read", code="unsupported-format")
    if any(head[at : at + 3 * length : length] == _TRANSPORT_SYNC * 3 for at, length in _TRANSPORT_PACKETS):
        raise InputError(
            "the file is an MPEG transport stream (ts, mts); save its sound as m4a, mp3 or wav",
            code="unsupported-format",
        )
    if magic in _FOREIGN:
        raise InputError(f"the file is {_FOREIGN[magic]}; it cannot be read", code="unsupported-format")
    return None


def _find_frames(path: Path, sound: range) -> Sniffed:
    """mp3 or aac, which are frames from some place on and have no header for the whole."""
    with SplicedFile(path, (sound,)) as file:
        mpeg = find_mpeg_stream(file)
        adts = read_adts_stream(file)
    if mpeg is not None and (adts is None or mpeg < adts.start):
        return Sniffed("mp3", sound[mpeg:])
    if adts is not None:
        return Sniffed("aac", sound[adts.start : adts.stop])
    raise InputError("the file is not a recording: its content is of no known audio format", code="not-audio")
