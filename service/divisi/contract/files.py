"""The one table of files: what a job has to download, where it is, who makes it, what may be done with it.

The gateway's routes, links, signed links and OpenAPI operations, and the media types that the worker notes, come from
here. A delivered file is a row, the code that makes it, and its test. The formats of audio stand above the table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Literal, Self


class StemFormat(StrEnum):
    """What stems are delivered as. `wav` is 24 bit, or float where the recording goes beyond full scale.

    Attributes:
        label: for people to choose by.
        extension: ending of the file name, with its dot.
        media_type: MIME type.
        is_lossless: True where stems add up to the input within rounding.
        bits: of a sample in a format of whole numbers, which cut off what lies beyond full scale; None for the others.
    """

    label: str
    extension: str
    media_type: str
    is_lossless: bool
    bits: int | None

    def __new__(
        cls,
        value: str,
        label: str = "",
        extension: str = "",
        media_type: str = "",
        is_lossless: bool = True,
        bits: int | None = None,
    ) -> Self:
        """One format with its attributes; a call with the value alone looks a format up."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.extension, member.media_type = extension, media_type
        member.is_lossless, member.bits = is_lossless, bits
        return member

    WAV = "wav", "WAV, 24 bit", ".wav", "audio/wav", True, 24
    WAV16 = "wav16", "WAV, 16 bit", ".wav", "audio/wav", True, 16
    WAV24 = "wav24", "WAV, always 24 bit", ".wav", "audio/wav", True, 24
    WAV32F = "wav32f", "WAV, float", ".wav", "audio/wav", True, None
    FLAC = "flac", "FLAC", ".flac", "audio/flac", True, 24
    OGG = "ogg", "Ogg Vorbis", ".ogg", "audio/ogg", False, None
    MP3 = "mp3", "MP3", ".mp3", "audio/mpeg", False, None

    def for_peak(self, peak: float) -> StemFormat:
        """What is written for a recording whose largest sample is `peak`, full scale 1."""
        if self is not StemFormat.WAV:
            return self
        return StemFormat.WAV32F if peak > 1 else StemFormat.WAV24


_BRACED = re.compile(r"\{(\w+)\}")
_NO_VIEW = "the job has no {name}"
_MUSICXML = "application/vnd.recordare.musicxml+xml"

RecordList = Literal["audio", "previews", "pitch", "views", "recording", "references", "mixes"]
"""Where a job's record has a file: stems and resynthesis are `audio`; `mixes` are made when they are asked for."""


@dataclass(frozen=True)
class FileRole:
    """One kind of file.

    Attributes:
        role, noun: names its operations, `get_<role>` and `look_at_<role>`; as people call it, with its article.
        path: below the job's address; a part in braces stands for one name of several.
        name: of the file in the record, with the same part in braces.
        held_in: which list of the record has it.
        media_type: `audio/*` where the format asked for, or the upload's own, decides.
        maker: whoever sent it, the worker, or the gateway when it is first asked for.
        summary, description: what a GET of it does, and more about it.
        missing, missing_message: code of the error when a job has none; says so, of a `name` or a `model`.
        parameter, tag: what the part in braces is; which operations it stands with.
        schema: component of the OpenAPI document that describes its content.
        is_linkable: signed links and shares may open it.
        may_redirect: to a link of the object store. Not what scripts of pages read: the store may not let them.
    """

    role: str
    noun: str
    path: str
    name: str
    held_in: RecordList
    media_type: str
    maker: Literal["caller", "worker", "gateway"]
    summary: str
    description: str
    missing: str
    missing_message: str
    tag: str
    parameter: str | None = None
    schema: str | None = None
    is_linkable: bool = True
    may_redirect: bool = True

    @property
    def is_on_demand(self) -> bool:
        """True when the first request makes it."""
        return self.maker == "gateway"

    @property
    def is_one_view(self) -> bool:
        """True of a view that a job has one of; `ViewsBody` names it by the first part of its path."""
        return self.held_in == "views" and self.variable is None

    @property
    def variable(self) -> str | None:
        """Name of the part in braces."""
        found = _BRACED.search(self.path)
        return found[1] if found else None

    def name_at(self, value: str | None) -> str:
        """The file's name in the record, where the part in braces is this value."""
        return _BRACED.sub(lambda _: value or "", self.name)

    def value_in(self, name: str) -> str | None:
        """What the part in braces is for a file of this name; None for the names of other roles."""
        before, _, after = _BRACED.sub("\0", self.name).partition("\0")
        if _BRACED.search(self.name) is None:
            return "" if name == self.name else None
        is_ours = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
        return name[len(before) : len(name) - len(after)] if is_ours else None

    def path_of(self, name: str) -> str:
        """Path below the job of the file with this name in the record."""
        return _BRACED.sub(lambda _: self.value_in(name) or "", self.path)


def _named(name: str, **row: Any) -> FileRole:
    """A file that is called, and addressed, by its own name, unless the row says otherwise."""
    return FileRole(**{"role": name.replace(".", "_"), "noun": name, "path": name} | row, name=name, maker="worker")


_pitch = partial(
    _named,
    held_in="pitch",
    description="Of every delivered voice. 404 (`no-pitch`) when the model gives none; else answered as a stem is.",
    missing="no-pitch",
    missing_message="model {model} gives no pitch tracks",
    tag="pitch",
)
_view = partial(
    _named,
    held_in="views",
    description="404 (`no-view`) for jobs of workers that made none; else answered as a stem is.",
    missing="no-view",
    missing_message=_NO_VIEW,
    tag="views",
    may_redirect=False,
)

_ROWS = (
    FileRole(
        role="stem",
        noun="a stem",
        path="stems/{stem}",
        name="{stem}",
        held_in="audio",
        media_type="audio/*",
        maker="worker",
        summary="Download a stem",
        description="The stem's bytes. The entity tag is their SHA-256, so a download can be resumed and checked.\n\n"
        "Where the object store gives expiring links the answer redirects to one.",
        missing="unknown-stem",
        missing_message="the job has no stem {name!r}",
        tag="stems",
        parameter="Name of a stem, such as `soprano`, or `residual`, `resynthesis`.",
    ),
    FileRole(
        role="preview",
        noun="a preview",
        path="previews/{stem}.mp3",
        name="preview-{stem}.mp3",
        held_in="previews",
        media_type="audio/mpeg",
        maker="worker",
        summary="Download a stem to listen to at once",
        description="A small MP3 file of a constant rate: all frames are equally long, in bytes and samples; the first "
        "holds no audio. Not in the archive.",
        missing="no-preview",
        missing_message=_NO_VIEW,
        tag="stems",
        parameter="Name of a stem, or `residual`.",
        may_redirect=False,
    ),
    _view("peaks.json", media_type="application/json", summary="Download waveforms to draw"),
    _view("confidence.json", media_type="application/json", summary="Download how far stems are to be believed"),
    _view("report.png", media_type="image/png", summary="Download the job's picture"),
    _view(
        "spectrogram-{track}.png",
        role="spectrogram",
        noun="a spectrogram",
        path="spectrograms/{track}.png",
        media_type="image/png",
        summary="Download a spectrogram",
        description="From 50 Hz at the bottom to 8 kHz at the top, logarithmic, first sample to last.",
        parameter="Name of a stem, or `mixture`, `residual`.",
    ),
    FileRole(
        role="recording",
        noun="the recording",
        path="recording",
        name="recording",
        held_in="recording",
        media_type="audio/*",
        maker="caller",
        summary="Download the recording",
        description="The upload as it came. 404 (`no-recording`) when it came in several files.",
        missing="no-recording",
        missing_message="the recording did not come in one file",
        tag="views",
    ),
    FileRole(
        role="reference",
        noun="a true source",
        path="references/{stem}",
        name="{stem}",
        held_in="references",
        media_type="audio/*",
        maker="caller",
        summary="Download a true source",
        description="The true source of a stem, as it was sent with the recording.",
        missing="unknown-reference",
        missing_message="no true source of {name!r} was sent",
        tag="views",
        parameter="Name of the stem that the source is of.",
    ),
    _pitch("pitch.json", media_type="application/json", summary="Download pitch tracks and notes", schema="PitchBody"),
    _pitch("pitch.csv", media_type="text/csv", summary="Download pitch tracks as a table"),
    _pitch("notes.mid", media_type="audio/midi", summary="Download notes as a Standard MIDI File"),
    _pitch("bars.json", media_type="application/json", summary="Download beats, bars and key", schema="BarsBody"),
    _pitch("intonation.json", media_type="application/json", summary="Download how well the choir is in tune"),
    _pitch("intonation.csv", media_type="text/csv", summary="Download how well each note is in tune"),
    _pitch("score.musicxml", media_type=_MUSICXML, summary="Download the parts as sung, as a score"),
    _pitch(
        "{part}.musicxml",
        role="part_score",
        noun="a part's score",
        path="scores/{part}.musicxml",
        media_type=_MUSICXML,
        summary="Download one part of the score",
        parameter="Name of a stem, such as `soprano`.",
    ),
    FileRole(
        role="mix",
        noun="a practice mix",
        path="mixes/{part}",
        name="{part}",
        held_in="mixes",
        media_type="audio/*",
        maker="gateway",
        summary="Download a practice mix",
        description="The first request for a mix makes it; then it is kept. Without `layout`: exact sums of the stems, "
        "in their format. With it: a learning track, as `tracks` has them all; of the part `all`, all parts.",
        missing="unknown-part",
        missing_message="the job has no part {name!r}",
        tag="mixes",
        parameter="Name of the stem to practise, such as `soprano`.",
    ),
)

FILES = {row.role: row for row in _ROWS}
# Of a job and of a comparison; put together when they are asked for, so they have neither tag nor ranges.
PACKED_PATHS = ("archive.zip", "tracks", "tracks.zip", "table.csv", "folder.zip")
# First parts of the paths, below a job or a comparison, that a signed link may open.
LINKABLE_PATHS = frozenset([*PACKED_PATHS, *(row.path.partition("/")[0] for row in _ROWS if row.is_linkable)])


def path_of(held_in: RecordList, name: str) -> str:
    """Path below the job of a file by its name in one list of the record.

    Raises:
        KeyError: no row is about such a file.
    """
    return _row_of(name, held_in).path_of(name)


def media_type_of(name: str) -> str:
    """Of a file that the worker makes beside the audio, such as `pitch.csv`; KeyError for other names."""
    return _row_of(name, "previews", "pitch", "views").media_type


def _row_of(name: str, *held_in: RecordList) -> FileRole:
    for row in _ROWS:
        if row.held_in in held_in and row.value_in(name) is not None:
            return row
    raise KeyError(name)
