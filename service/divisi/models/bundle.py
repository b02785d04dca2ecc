"""Finds models on disk: `model_store/<model_id>/<version>/`, and refuses what is not as it was published.

The gateway lists cards here; the worker's child and the command line take a bundle from here and give it to an engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from divisi.contract.card import (
    FILE_PATTERN,
    MODEL_ID_PATTERN,
    VERSION_PATTERN,
    Artifact,
    ArtifactKind,
    CardDraft,
    ModelCard,
    version_key,
)
from divisi.contract.errors import ModelError, NotFoundError
from divisi.telemetry import get_logger
from divisi.whole_files import sha256_of

log = get_logger(__name__)

# The default model as a built package carries it (pyproject.toml); a checkout has none here.
SHIPPED = Path(__file__).resolve().parents[1] / "model_store"


@dataclass(frozen=True)
class ModelBundle:
    """One version of one model on disk; `open_bundle` makes it."""

    path: Path
    card: ModelCard
    checksums: dict[str, str] = field(repr=False, compare=False)
    _intact: set[str] = field(default_factory=set, repr=False, compare=False)

    @property
    def name(self) -> str:
        """`<model_id>/<version>`, for messages."""
        return f"{self.card.id}/{self.card.version}"

    def artifact(self, kind: ArtifactKind) -> Artifact:
        """The card's entry for one kind of artifact.

        Raises:
            ModelError: code `missing-artifact`.
        """
        for artifact in self.card.artifacts:
            if artifact.kind == kind:
                return artifact
        kinds = [artifact.kind for artifact in self.card.artifacts]
        raise ModelError(f"{self.name} has no {kind} artifact, only {kinds}", code="missing-artifact", kind=kind)

    def artifact_path(self, kind: ArtifactKind) -> Path:
        """Path of an artifact whose bytes are the published ones; they are read once per bundle.

        Raises:
            ModelError: code `missing-artifact`, or `damaged-bundle` when a checksum disagrees.
        """
        artifact = self.artifact(kind)
        path = self.path / artifact.file
        if artifact.file not in self._intact:
            if self.checksums.get(artifact.file) != artifact.sha256:
                message = f"{self.name}: card and SHA256SUMS disagree on {artifact.file}"
                raise ModelError(message, code="damaged-bundle", file=artifact.file)
            check_file(path, artifact.sha256, self.name)
            self._intact.add(artifact.file)
        return path

    def verify(self) -> None:
        """Checks every file that SHA256SUMS lists and every artifact that the card names.

        Raises:
            ModelError: code `damaged-bundle` or `missing-artifact`.
        """
        for file, sha256 in self.checksums.items():
            check_file(self.path / file, sha256, self.name)
        for artifact in self.card.artifacts:
            self.artifact_path(artifact.kind)


def open_bundle(path: Path) -> ModelBundle:
    """Opens the bundle in the folder `<model_id>/<version>`; its card is checked now, an artifact when it is asked for.

    Raises:
        ModelError: code `damaged-bundle` or `damaged-card`.
    """
    name = "/".join(path.parts[-2:])
    checksums = read_checksums(path)
    check_file(path / CARD_FILE, checksums.get(CARD_FILE), name)
    card = read_card(path / CARD_FILE, ModelCard)
    if (card.id, card.version) != (path.parent.name, path.name):
        message = f"{name}: its card says {card.id}/{card.version}; a bundle rests in the folder of its id and version"
        raise ModelError(message, code="damaged-bundle")
    if card.artifacts and card.parity is None:
        raise ModelError(f"{name}: its card states no parity for its artifacts", code="damaged-bundle")
    return ModelBundle(path, card, checksums)


@dataclass(frozen=True)
class BundleStore:
    """The bundles under one folder, and those that came with the package.

    A model of the folder hides the package's of the same id. Nothing is cached: a bundle that is put into the folder is
    found by the next call.
    """

    root: Path
    shipped: Path = SHIPPED

    def model_ids(self) -> list[str]:
        """Ids of all models that have at least one version, sorted."""
        names = {path.name for root in (self.root, self.shipped) if root.is_dir() for path in root.iterdir()}
        return sorted(name for name in names if self.versions(name))

    def versions(self, model_id: str) -> list[str]:
        """Versions of one model, oldest first; none for an unknown model or for text that is no model id."""
        if not MODEL_ID_PATTERN.fullmatch(model_id):
            return []
        return _versions_in(self.root / model_id) or _versions_in(self.shipped / model_id)

    def list(self) -> list[ModelCard]:
        """Cards of the newest version of every model, sorted by id; a damaged bundle is logged and left out."""
        cards = []
        for model_id in self.model_ids():
            try:
                cards.append(self.get(model_id).card)
            except ModelError as error:
                log.error("model left out of the list", model_id=model_id, reason=error.message)
        return cards

    def get(self, model_id: str, version: str | None = None) -> ModelBundle:
        """The bundle of one model, its newest version unless one is named.

        Raises:
            NotFoundError: code `unknown-model`; also for text that is no model id or version.
            ModelError: the bundle is there but damaged.
        """
        versions = self.versions(model_id)
        wanted = version or (versions[-1] if versions else None)
        if wanted is None or wanted not in versions:
            raise NotFoundError(self._unknown(model_id, version, versions), code="unknown-model")
        root = self.root if _versions_in(self.root / model_id) else self.shipped
        return open_bundle(root / model_id / wanted)

    def _unknown(self, model_id: str, version: str | None, versions: Sequence[str]) -> str:
        if versions:
            return f"model {model_id} has no version {(version or '')[:80]!r}, only {', '.join(versions)}"
        return f"there is no model {model_id[:80]!r}; there are: {', '.join(self.model_ids()) or 'none'}"


def _versions_in(folder: Path) -> list[str]:
    """Versions in the folder of one model, oldest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if VERSION_PATTERN.fullmatch(path.name)]
    return sorted((name for name in names if (folder / name / CARD_FILE).is_file()), key=version_key)


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


CARD_FILE = "card.yaml"

_Card = TypeVar("_Card", bound=CardDraft)


def read_card(path: Path, kind: type[_Card]) -> _Card:
    """Reads a `ModelCard` or a `CardDraft` from YAML.

    Raises:
        ModelError: code `damaged-card`; the message names file and field.
    """
    name = "/".join(path.parts[-3:])
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{name} cannot be read: {_reason(error)}", code="damaged-card", file=name) from error
    if not isinstance(content, dict):
        raise ModelError(f"{name} holds no mapping of fields", code="damaged-card", file=name)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors()]
        raise ModelError(f"{name}: {'; '.join(problems)}", code="damaged-card", file=name) from error


def write_card(card: CardDraft, path: Path) -> None:
    """Writes the card as YAML that `read_card` reads back as an equal card."""
    content = card.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    path.write_text(text, encoding="utf-8", newline="\n")


def _describe(problem: Any) -> str:
    field = ".".join(str(step) for step in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {text}" if field else text


def _reason(error: Exception) -> str:
    """In one line, and without the path: messages travel to callers who need not know where models rest."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    return "; ".join((text or type(error).__name__).splitlines())
