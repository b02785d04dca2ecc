"""docs/options.md says what may be asked, as the contract has it.

`python -m tests.contract.test_options_page` writes its tables anew, from the root of the checkout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from divisi.cli.request import CommandRequest
from divisi.contract.request import OPTIONS, offer_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def table(fields: Iterable[tuple[str, FieldInfo]]) -> str:
    rows = ["| option | left out | command line | what it is |", "|---|---|---|---|"]
    for name, field in fields:
        default = "" if field.default in (None, ()) else f"`{str(field.default).lower()}`"
        flags = ", ".join(f"`{flag}`" for flag in offer_of(field).flags)
        choices = [f"`{choice}`" for choice in offer_of(field).choices or ()]
        text = (field.description or offer_of(field).help) + (f" {', '.join(choices)}." if choices else "")
        rows.append(f"| `{name}` | {default} | {flags} | {text} |")
    return "\n".join(rows)


def tables() -> list[str]:
    of_the_command = {name: field for name, field in CommandRequest.model_fields.items() if name not in OPTIONS}
    return [table(OPTIONS.items()), table(of_the_command.items())]


def test_the_page_lists_the_options_of_the_contract() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for expected in tables():
        assert expected in page, __doc__


if __name__ == "__main__":
    written = iter(tables())
    page = re.sub(r"(?m)(^\|.*\n)+", lambda _: next(written) + "\n", PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
