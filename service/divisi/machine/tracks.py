"""Learning tracks made in this process: of a folder of stems, or of a recording that is separated first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from divisi.cli.out_folder import OutFolder
from divisi.cli.recordings import TAKEN, check_readable, digest_of
from divisi.cli.request import CommandRequest
from divisi.contract.card import RESIDUAL, RESYNTHESIS
from divisi.contract.errors import InputError
from divisi.contract.tracks import TrackSetOptions, tracks_of
from divisi.machine.separation import local_separation
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
        InputError: `would-replace`, a file is there already; `no-such-file`, the folder holds no stems.
        NotFoundError: `unknown-part`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=UNFINISHED_PREFIX, dir=out) as scratch:
        if source.is_dir():
            stems, share = _stems_in(source), 0.0
        else:
            check_readable(source)
            folder, share = Path(scratch) / "stems", _SEPARATING_SHARE
            separate = local_separation(CommandRequest(include_residual=True))
            separate([source], OutFolder(folder, digest_of([source], "")), lambda done: on_progress(share * done))
            stems = _stems_in(folder)
        tracks = tuple(tracks_of(parts_of(stems), options))
        targets = [out / track.file_name(options) for track in tracks]
        for target in targets:
            if target.exists():
                raise InputError(f"{target} is there already; choose another folder", code="would-replace")
        title = source.name if source.is_dir() else source.stem
        made = make_tracks(
            TrackOrder(stems, tracks, options, title),
            Path(scratch),
            lambda done: on_progress(share + (1 - share) * done),
        )
        for path, target in zip(made, targets, strict=True):
            place_new(path, target)
    return targets


def _stems_in(folder: Path) -> tuple[TrackStem, ...]:
    """From high to low, others by their names, the residual last; what the model sings again is no part of the sum."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in TAKEN and path.stem != RESYNTHESIS]
    stems = [TrackStem(path.stem, path, path.stem == RESIDUAL) for path in paths]
    if not parts_of(stems):
        raise InputError(
            f"{folder} holds no stems; `divisi separate` writes some, or name a recording", code="no-such-file"
        )
    return tuple(sorted(stems, key=_place))


def _place(stem: TrackStem) -> tuple[bool, int, str]:
    place = SCORE_ORDER.index(stem.name) if stem.name in SCORE_ORDER else len(SCORE_ORDER)
    return stem.is_residual, place, stem.name
