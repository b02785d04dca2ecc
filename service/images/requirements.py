"""Prints what the package itself or some of its extras require, for image layers that hold libraries without our code.

    python requirements.py pyproject.toml [EXTRA ...]

Without an extra: what every process needs. With extras: what they bring beyond that. Extras named by extras, and what
the client requires (service/pyproject.toml), are followed. Runs with the standard library alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The requirements, sorted. An unknown extra is a KeyError."""
    project = tomllib.loads(pyproject.read_text())["project"]
    name = re.escape(project["name"])
    lists = [project["optional-dependencies"][extra] for extra in extras] if extras else [project["dependencies"]]
    found: set[str] = set()
    for requirement in (one for listed in lists for one in listed):
        if own := re.fullmatch(rf"{name}\[(.+)\]", requirement):
            found.update(requirements(pyproject, own[1].split(",")))
        elif re.match(rf"{name}-client\b", requirement):
            found.update(requirements(pyproject.parent / "service" / "pyproject.toml", []))
        else:
            found.add(requirement)
    return sorted(found)


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])) + "\n")
