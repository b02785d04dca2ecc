"""`card.yaml`: a card as text. What cannot be read is refused with the names of file and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from divisi.contract.card import CardDraft
from divisi.contract.errors import ModelError

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
