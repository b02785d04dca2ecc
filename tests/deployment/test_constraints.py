"""The versions that are tested and the hashes of their files: one list each, made together by `make constraints`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
IMAGES = [("gateway", "otel"), ("worker", "torch-serve", "otel"), ("standalone",)]
ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ;[^\\]+)? \\\n {4}--hash=sha256:[0-9a-f]{64}\b", re.M)


def versions_tested() -> dict[str, str]:
    pairs = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(name): version for name, version in pairs}


def locked() -> dict[str, str]:
    """Versions by name of those entries that have a hash."""
    text = (ROOT / "constraints.lock").read_text()
    return {canonicalize_name(entry["name"]): entry["version"] for entry in ENTRY.finditer(text)}


def listed(*extras: str) -> list[Requirement]:
    command = [sys.executable, ROOT / "service/images/requirements.py", ROOT / "pyproject.toml", *extras]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Requirement(line) for line in lines]


def test_every_entry_has_hashes() -> None:
    lines = (ROOT / "constraints.lock").read_text().splitlines()
    assert len(locked()) == sum("==" in line and not line.startswith("#") for line in lines)


def test_what_is_locked_is_what_is_tested() -> None:
    versions = locked()
    assert {name: versions.get(name) for name in versions_tested()} == versions_tested()


def test_every_requirement_admits_the_version_that_is_locked() -> None:
    versions = locked()
    for requirement in (*listed(), *listed("dev", "worker-gpu")):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("extras", IMAGES, ids=lambda extras: extras[0])
def test_all_that_an_image_installs_is_locked(extras: tuple[str, ...]) -> None:
    """Followed through what is installed here, as pip would: a package that is not locked stops a build."""
    versions, seen, ahead = locked(), set(), [*listed(), *listed(*extras)]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        assert name in versions, requirement
        ahead += [one for extra in ("", *requirement.extras) for one in needs(name, extra)]
    assert len(seen) > 20


def needs(name: str, extra: str) -> list[Requirement]:
    try:
        found = [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:
        return []  # one that this environment does without
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": extra})]
