"""SHA256SUMS of a bundle, as `sha256sum` writes it: `sha256sum -c SHA256SUMS` in its folder says the same as we do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from divisi.contract.card import FILE_PATTERN
from divisi.contract.errors import ModelError
from divisi.whole_files import sha256_of

CHECKSUMS_FILE = "SHA256SUMS"


def write_checksums(folder: Path, files: Iterable[str]) -> None:
    """Writes SHA256SUMS over the named files of a folder."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in sorted(files)]
    (folder / CHECKSUMS_FILE).write_text("".join(lines), encoding="ascii", newline="\n")


def read_checksums(folder: Path) -> dict[str, str]:
    """File name → hexadecimal SHA-256.

    Raises:
        ModelError: code `damaged-bundle`, when SHA256SUMS is missing or a line of it is not `<sha256>  <file name>`.
    """
    name = "/".join((*folder.parts[-2:], CHECKSUMS_FILE))
    try:
        lines = (folder / CHECKSUMS_FILE).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{name} cannot be read: {type(error).__name__}", code="damaged-bundle") from error
    checksums = {}
    for line in lines:
        digest, _, file = line.partition("  ")
        if len(digest) != 64 or not FILE_PATTERN.fullmatch(file):
            raise ModelError(f"{name}: {line[:100]!r} is not '<sha256>  <file name>'", code="damaged-bundle")
        checksums[file] = digest
    return checksums


def check_file(path: Path, sha256: str | None, bundle_name: str) -> None:
    """Compares a file with its published checksum.

    Raises:
        ModelError: code `damaged-bundle` or, when the file is not there, `missing-artifact`.
    """
    if sha256 is None:
        raise ModelError(
            f"{bundle_name}: {CHECKSUMS_FILE} does not list {path.name}", code="damaged-bundle", file=path.name
        )
    if not path.is_file():
        raise ModelError(f"{bundle_name}: {path.name} is missing", code="missing-artifact", file=path.name)
    found = sha256_of(path)
    if found != sha256:
        message = f"{bundle_name}: {path.name} has SHA-256 {found[:12]}…, published was {sha256[:12]}…"
        raise ModelError(message, code="damaged-bundle", file=path.name)
