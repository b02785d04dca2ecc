"""The models of this machine: separation in this process, what there is to separate with, and `divisi models pull`."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from divisi.cli.out_folder import OutFolder, SeparateOne, identity_of
from divisi.cli.recordings import check_readable, digest_of
from divisi.cli.request import CommandRequest, request_of
from divisi.cli.server import models
from divisi.cli.terminal import Json, exit_on_error, printable, progress_bar, remarks_on, say, show_json
from divisi.contract.card import MODEL_ID_PATTERN, VERSION_PATTERN
from divisi.contract.errors import ConflictError, InputError, UnavailableError
from divisi.models.bundle import CHECKSUMS_FILE, BundleStore, ModelBundle, open_bundle, read_checksums
from divisi.settings import settings_with

if TYPE_CHECKING:
    from divisi.delivery.deliver import SeparatedFile

MOST_CHECKSUM_BYTES = 64 * 1024
MOST_FILE_BYTES = 2 * 1024**3


def local_separation(request: CommandRequest) -> SeparateOne:
    """Separation in this process; the model is opened once for all recordings."""
    separate = _opened(request)

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> list[str]:
        separated = separate(paths, out, on_progress)
        detected = separated.voices if separated.are_voices_detected else ()
        return remarks_on(paths[0], detected, [warning.message for warning in separated.warnings])

    return separate_one


def separate_here(
    recording: str | Path | Sequence[Path],
    folder: Path,
    on_progress: Callable[[float], None],
    options: Mapping[str, Any],
) -> dict[str, Path]:
    """Of `divisi.separate`, which says what it takes and raises."""
    paths = [Path(recording)] if isinstance(recording, str | Path) else list(recording)
    request = request_of(options)
    for path in paths:
        check_readable(path)
    out = OutFolder(folder, digest_of(paths), frozenset(map(identity_of, paths)))
    out.check([])
    separated = _opened(request)(paths, out, on_progress)
    out.finish(digest_of([], request.digested()))
    for warning in separated.warnings:
        warnings.warn(warning.message, stacklevel=3)
    return {stem.name: folder / stem.path.name for stem in separated.files}


def _opened(request: CommandRequest) -> Callable[[Sequence[Path], OutFolder, Callable[[float], None]], SeparatedFile]:
    """What does one recording in the way that is asked for."""
    from divisi.audio.decode import as_one_recording
    from divisi.delivery.deliver import Recording, separate_file
    from divisi.models.plan import FitRequest, check_voices, fit_request_of, fitting_of, parse_voices
    from divisi.separation.fitted_separator import open_separator
    from divisi.separation.separator import SeparationOptions

    settings = settings_with()
    bundle = BundleStore(settings.model_store).get(request.model_id or settings.default_model)
    fit = fit_request_of(request)
    options = SeparationOptions(
        stems=request.stems or None,
        **request.delivery_options(),
        include_pitch=request.include_pitch,
        include_resynthesis=request.include_resynthesis,
        include_report=request.include_plot,
        voices=check_voices(parse_voices(request.voices), bundle.card),
        fit=fit,
    )
    if not bundle.card.fitting:
        if fit != FitRequest():
            fitting_of(bundle.card)
        options.indices(bundle.card.stems)
    separator = open_separator(bundle, settings)

    def separate(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> SeparatedFile:
        title = printable(paths[0].name)
        with as_one_recording(paths) as path:
            return separate_file(Recording(path, title), out, separator, request.encoding, options, on_progress)

    return separate


def default_parts() -> list[str]:
    """Stems that the model of this machine makes, from high to low; none where that depends on the recording."""
    settings = settings_with()
    card = BundleStore(settings.model_store).get(settings.default_model).card
    return [] if card.fitting else list(card.stems)


def local_models() -> list[dict[str, Any]]:
    """The cards of the models here, as a server shows them."""
    from divisi.models.engine import can_fit

    cards = BundleStore(settings_with().model_store).list()
    return [card.model_dump(mode="json") | {"is_offered": can_fit() or card.fitting is None} for card in cards]


@models.command()
def pull(
    url: Annotated[str, typer.Argument(help="Address of a bundle's folder: `…/<model>/<version>`.")],
    store: Annotated[
        Path | None, typer.Option(help="Model store to put it into; default: DIVISI_MODEL_STORE, ./model_store.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model from a server that holds it, checked file by file.

        divisi models pull https://models.example/model_store/umss-satb/1.2.0

    Fetch from those you trust: a model is a program that will run here.
    """
    with exit_on_error(), progress_bar() as progress:
        task = progress.add_task(printable(url), total=None)
        bundle = pull_bundle(url, store or settings_with().model_store, lambda n: progress.advance(task, n))
    if as_json:
        show_json({"id": bundle.card.id, "version": bundle.card.version, "path": bundle.path})
    else:
        say(f"{bundle.card.id} {bundle.card.version} in {bundle.path}")


def pull_bundle(url: str, root: Path, on_progress: Callable[[int], None] = lambda _: None) -> ModelBundle:
    """Brings the bundle at `url` into `root/<model_id>/<version>`: all of it or nothing.

    Checksums come from the same server: they guard against damage, not against whoever runs it.

    Args:
        url: `http(s)://…/<model_id>/<version>`.
        root: the model store; made if it is not there.
        on_progress: called with the bytes that arrived since the last call.

    Raises:
        InputError: `url` is no address of a bundle.
        ConflictError: the store has this version already (`bundle-exists`).
        UnavailableError: the server does not answer, or not with these files (`download-failed`).
        ModelError: what arrived is not as it was published (`damaged-bundle`, `damaged-card`).
    """
    url = url.rstrip("/")
    model_id, version = _named_by(url)
    target = root / model_id / version
    if target.exists():
        raise ConflictError(f"{target} is there already; nothing was fetched", code="bundle-exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=root) as scratch:
        folder = Path(scratch) / model_id / version
        folder.mkdir(parents=True)
        _fetch(f"{url}/{CHECKSUMS_FILE}", folder / CHECKSUMS_FILE, MOST_CHECKSUM_BYTES, on_progress)
        for name, sha256 in read_checksums(folder).items():
            found = _fetch(f"{url}/{name}", folder / name, MOST_FILE_BYTES, on_progress)
            if found != sha256:
                raise UnavailableError(
                    f"{url}/{name} arrived with SHA-256 {found[:12]}…, {CHECKSUMS_FILE} says {sha256[:12]}…",
                    code="download-failed",
                )
        open_bundle(folder).verify()
        os.rename(folder, target)
    return open_bundle(target)


def _named_by(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    model_id, _, version = "/".join(parts.path.split("/")[-2:]).partition("/")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{url!r} is no http or https address", code="invalid-address")
    if not MODEL_ID_PATTERN.fullmatch(model_id) or not VERSION_PATTERN.fullmatch(version):
        raise InputError(
            f"{url!r} names no bundle; an address ends like /model_store/chorus/1.2.0", code="invalid-address"
        )
    return model_id, version


def _fetch(url: str, path: Path, most_bytes: int, on_progress: Callable[[int], None]) -> str:
    """The SHA-256 of what `url` answers, written to `path`."""
    import httpx

    digest, num_bytes = hashlib.sha256(), 0
    try:
        with httpx.stream("GET", url, timeout=30) as answer, path.open("wb") as file:
            if answer.status_code != httpx.codes.OK:
                raise UnavailableError(f"{url} answers {answer.status_code}", code="download-failed")
            for piece in answer.iter_bytes():
                num_bytes += len(piece)
                if num_bytes > most_bytes:
                    raise UnavailableError(f"{url} is larger than {most_bytes} bytes", code="download-failed")
                digest.update(piece)
                file.write(piece)
                on_progress(len(piece))
    except httpx.HTTPError as error:
        raise UnavailableError(f"{url}: {error or type(error).__name__}", code="download-failed") from error
    return digest.hexdigest()
