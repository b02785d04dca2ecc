"""Fetches a published bundle by HTTP: its checksums first, then every file that they list.

The address is that of a folder `<model_id>/<version>/`, as a static file server shows a model store.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from divisi.contract.card import MODEL_ID_PATTERN, VERSION_PATTERN
from divisi.contract.errors import ConflictError, InputError, UnavailableError
from divisi.models.bundle import CHECKSUMS_FILE, ModelBundle, open_bundle, read_checksums

MOST_CHECKSUM_BYTES = 64 * 1024
MOST_FILE_BYTES = 2 * 1024**3


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
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=root) as scratch, httpx.Client(timeout=30) as http:
        folder = Path(scratch) / model_id / version
        folder.mkdir(parents=True)
        _fetch(http, f"{url}/{CHECKSUMS_FILE}", folder / CHECKSUMS_FILE, MOST_CHECKSUM_BYTES, on_progress)
        for name, sha256 in read_checksums(folder).items():
            found = _fetch(http, f"{url}/{name}", folder / name, MOST_FILE_BYTES, on_progress)
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


def _fetch(http: httpx.Client, url: str, path: Path, most_bytes: int, on_progress: Callable[[int], None]) -> str:
    """The SHA-256 of what `url` answers, written to `path`."""
    digest, num_bytes = hashlib.sha256(), 0
    try:
        with http.stream("GET", url) as answer, path.open("wb") as file:
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
