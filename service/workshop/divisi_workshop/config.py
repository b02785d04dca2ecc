"""The one reader of configurations: plain values, of YAML or of a checkpoint, to frozen dataclasses and back.

Every configuration is a dataclass of pydantic's, declared with STRICT: misspelt names and wrong types are refused.
"""

from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from divisi.contract.errors import InputError, NotFoundError

Config = TypeVar("Config")

STRICT = ConfigDict(extra="forbid")


def read_values(name_or_path: str) -> dict[str, Any]:
    """Plain values of a shipped configuration by its name, such as `chorus`, or of a YAML file.

    Raises:
        NotFoundError: code `unknown-configuration`.
    """
    folder = resources.files("divisi_workshop.learning").joinpath("configs")
    shipped, path = folder.joinpath(f"{name_or_path}.yaml"), Path(name_or_path)
    if not shipped.is_file() and not path.is_file():
        names = ", ".join(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir()))
        message = f"there is no configuration {name_or_path!r}, and no file of that name; shipped are: {names}"
        raise NotFoundError(message, code="unknown-configuration")
    values: dict[str, Any] = yaml.safe_load(shipped.read_text() if shipped.is_file() else path.read_text())
    return values


def parse(kind: type[Config], values: dict[str, Any]) -> Config:
    """A configuration from plain values; what is not named has its default.

    Raises:
        InputError: code `invalid-configuration`; names every value that is unknown or does not fit.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(str(error), code="invalid-configuration") from error


def plain(config: Any) -> dict[str, Any]:
    """Inverse of `parse`: values that YAML and a weights-only checkpoint can carry."""
    values: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return values
