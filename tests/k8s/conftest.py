"""Every overlay rendered once, and a copy of the tree to plant mistakes in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.k8s.manifests import OVERLAYS, TREE, Resource, render

Rendered = dict[str, list[Resource]]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """The resources of each overlay, and of `dev` with the component that no overlay has."""
    with_torchserve = copy_of_tree(tmp_path_factory.mktemp("torchserve")) / "overlays/dev"
    overlay = with_torchserve / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("components:\n", "components:\n  - ../../components/torchserve\n"))
    folders = {overlay: TREE / "overlays" / overlay for overlay in OVERLAYS} | {"torchserve": with_torchserve}
    return {name: render(folder) for name, folder in folders.items()}


@pytest.fixture(params=[*OVERLAYS, "torchserve"])
def resources(request: pytest.FixtureRequest, rendered: Rendered) -> list[Resource]:
    """The resources of one overlay after another."""
    return rendered[request.param]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the manifests."""
    return copy_of_tree(tmp_path)


def copy_of_tree(folder: Path) -> Path:
    """Manifests and the files that they take in, copied below a folder."""
    shutil.copytree(TREE.parent / "service/monitoring", folder / "service/monitoring")
    return Path(shutil.copytree(TREE, folder / "k8s"))
