"""checkov finds nothing in what the overlays render to but what k8s/checkov.yaml explains."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.k8s.manifests import TREE, Resource
from tests.patience import PATIENCE_SECONDS


def checkov() -> str:
    """`make` installs it into `.venv/policy`: what it pins does not go together with what we need."""
    own = Path(sys.prefix) / "policy/bin/checkov"
    found = str(own) if own.exists() else shutil.which("checkov")
    assert found, "checkov is missing: make .venv/installed-policy"
    return found


def failures(folder: Path) -> dict[str, list[str]]:
    """Ids of failed checks, with the resources that failed them."""
    command = [checkov(), "--config-file", str(TREE / "checkov.yaml"), "--directory", str(folder), "--output", "json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    report = json.loads(run.stdout)
    assert report["summary"]["passed"] > 0, run.stderr
    found: dict[str, list[str]] = {}
    for check in report["results"]["failed_checks"]:
        found.setdefault(check["check_id"], []).append(f"{check['file_path']} {check['resource']}")
    return found


@pytest.fixture(scope="module")
def found(rendered: dict[str, list[Resource]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """One run for all: starting checkov costs more than its checks. `planted` holds what must be found."""
    folder = tmp_path_factory.mktemp("rendered")
    for overlay, resources in rendered.items():
        (folder / f"{overlay}.yaml").write_text(yaml.safe_dump_all(resources))
    text = (folder / "dev.yaml").read_text()
    assert "readOnlyRootFilesystem: true" in text
    (folder / "planted.yaml").write_text(text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"))
    return failures(folder)


def test_no_overlay_breaks_the_policy(found: dict[str, list[str]]) -> None:
    ours = {check: [place for place in places if "planted" not in place] for check, places in found.items()}
    assert {check: places for check, places in ours.items() if places} == {}


def test_a_writable_root_is_found(found: dict[str, list[str]]) -> None:
    assert any("planted" in place and "gateway" in place for place in found.get("CKV_K8S_22", []))
