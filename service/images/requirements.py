"""Prints what the package itself or some of its extras require, for image layers that hold libraries without our code.

    python requirements.py pyproject.toml [EXTRA ...]

Without an extra: what every process needs. With extras: what they bring beyond that; extras named by extras are
followed. Runs with the standard library alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The requirements, sorted. An unknown extra is a KeyError."""
    project = tomllib.loads(pyproject.read_text())["project"]
    if not extras:
        return sorted(project["dependencies"])
    found: set[str] = set()
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{re.escape(project['name'])}\[(.+)\]", requirement)
            found.update(requirements(pyproject, own[1].split(",")) if own else [requirement])
    return sorted(found)


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])) + "\n")
