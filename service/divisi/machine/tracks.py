"""Learning tracks made in this process: of a folder of stems, or of a recording that is separated first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from divisi.audio.decode import open_decoder
from divisi.cli.out_folder import OutFolder
from divisi.cli.recordings import TAKEN, check_readable, digest_of
from divisi.cli.request import CommandRequest
from divisi.contract.card import RESIDUAL, RESYNTHESIS
from divisi.contract.errors import InputError
from divisi.contract.tracks import TrackSetOptions, check_length, tracks_of
from divisi.machine.separation import default_parts, local_separation
from divisi.tracks.making import TrackOrder, TrackStem, make_tracks, parts_of
from divisi.whole_files import UNFINISHED_PREFIX, place_new

# Of the progress, where a recording has to be separated.
_SEPARATING_SHARE = 0.5
SCORE_ORDER = ("soprano", "alto", "tenor", "bass")


def local_tracks(source: Path, out: Path, options: TrackSetOptions, on_progress: Callable[[float], None]) -> list[Path]:
    """Writes learning tracks into a folder.

    Args:
        source: a recording, or a folder of stems as `divisi separate` writes it.
        out: made if missing.
        on_progress: called with rising numbers in 0..1.

    Raises:
        InputError: `would-replace`, a file is there already; `no-such-file`, the folder holds no stems;
            `audio-too-long`, the tracks do not fit into files of their format.
        NotFoundError: `unknown-part`.
    """
    stems: tuple[TrackStem, ...] = ()
    if source.is_dir():
        stems = _stems_in(source)
    else:
        check_readable(source)
    _check(source if not stems else stems[0].path, out, parts_of(stems) or sorted(default_parts(), key=_place), options)
    # Beside the tracks, and no folder for them before there are any.
    place = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    share = 0.0 if stems else _SEPARATING_SHARE
    with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=place) as scratch:
        if not stems:
            folder = Path(scratch) / "stems"
            separate = local_separation(CommandRequest(include_residual=True))
            separate([source], OutFolder(folder, digest_of([source], "")), lambda done: on_progress(share * done))
            stems = _stems_in(folder)
        tracks = tuple(tracks_of(parts_of(stems), options))
        title = source.name if source.is_dir() else source.stem
        made = make_tracks(
            TrackOrder(stems, tracks, options, title),
            Path(scratch),
            lambda done: on_progress(share + (1 - share) * done),
        )
        out.mkdir(parents=True, exist_ok=True)
        targets = [out / track.file_name(options) for track in tracks]
        for path, target in zip(made, targets, strict=True):
            place_new(path, target)
    return targets


def _check(recording: Path, out: Path, parts: Sequence[str], options: TrackSetOptions) -> None:
    """Refuses before the work what would be refused after it. Without parts, the model says only then what it found."""
    with open_decoder(recording) as decoder:
        check_length(decoder.facts.num_samples / decoder.facts.sample_rate, options)
    for track in tracks_of(parts, options) if parts else ():
        target = out / track.file_name(options)
        if target.exists():
            raise InputError(f"{target} is there already; choose another folder", code="would-replace")


def _stems_in(folder: Path) -> tuple[TrackStem, ...]:
    """From high to low, others by their names, the residual last; what the model sings again is no part of the sum."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in TAKEN and path.stem != RESYNTHESIS]
    stems = [TrackStem(path.stem, path, path.stem == RESIDUAL) for path in paths]
    if not parts_of(stems):
        raise InputError(
            f"{folder} holds no stems; `divisi separate` writes some, or name a recording", code="no-such-file"
        )
    return tuple(sorted(stems, key=lambda stem: (stem.is_residual, _place(stem.name))))


def _place(part: str) -> tuple[int, str]:
    return SCORE_ORDER.index(part) if part in SCORE_ORDER else len(SCORE_ORDER), part
