"""Finds models on disk: `model_store/<model_id>/<version>/`, and refuses what is not as it was published.

The gateway lists cards here; the worker's child and the command line take a bundle from here and give it to an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from divisi.bundles.card_file import CARD_FILE, read_card
from divisi.bundles.checksums import check_file, read_checksums
from divisi.contract.card import (
    MODEL_ID_PATTERN,
    VERSION_PATTERN,
    Artifact,
    ArtifactKind,
    ModelCard,
    version_key,
)
from divisi.contract.errors import ModelError, NotFoundError
from divisi.telemetry import get_logger

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
