"""The TypeScript client has the answers and the options as the contract has them.

`python -m tests.contract.test_typescript_records` writes them anew, from the root of the checkout.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tests.contract.test_client_records import ROOTS, enums_in, fields_of, gather, name_of

from divisi.contract.answers import Since
from divisi.contract.request import OPTIONS, offer_of

RECORDS = Path(__file__).resolve().parents[2] / "service" / "clients" / "typescript" / "src" / "records.ts"
HEAD = """// What the server answers and what may be asked of it.
//
// Made of the service's contract by `python -m tests.contract.test_typescript_records`: change that, not this.
"""
PLAIN = {
    str: "string",
    datetime: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    Any: "any",
}


def records_text() -> str:
    models: dict[type, None] = {}
    for root in ROOTS:
        gather(root, models)
    states = sorted(
        {one for model in models for field in fields_of(model).values() for one in enums_in(field)}, key=str
    )
    aliases = [f"export type {state.__name__} = {literal_text(state)};" for state in states]
    return "\n\n".join([HEAD + "\n".join(["", *aliases]), *map(interface_text, models), options_text()]) + "\n"


def interface_text(model: type) -> str:
    lines = [f"/** {model.__doc__} */", f"export interface {name_of(model)} {{"]
    for name, field in fields_of(model).items():
        mark = "?" if any(isinstance(one, Since) for one in field.metadata) else ""
        lines.append(f"  {name}{mark}: {type_text(field.annotation)};")
    return "\n".join([*lines, "}"])


def options_text() -> str:
    """Every option of a submit, all of which may be left out."""
    lines = [
        "/** What may be asked of a separation; docs/options.md says what each is. */",
        "export interface RequestOptions {",
    ]
    for name, field in OPTIONS.items():
        text = type_text(field.annotation)
        if choices := offer_of(field).choices:
            text = literal_text(choices)
        if name == "model":
            text = "string"  # several models are a comparison
        lines.append(f"  {name}?: {text};")
    return "\n".join([*lines, "}"])


def type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(map(type_text, arguments)))
    if origin is Literal:
        return literal_text(arguments)
    if origin in (tuple, list):
        item = type_text(arguments[0])
        return f"({item})[]" if " " in item else f"{item}[]"
    if origin is dict:
        return f"Record<{', '.join(map(type_text, arguments))}>"
    return PLAIN.get(annotation) or name_of(annotation)


def literal_text(values: Iterable[str]) -> str:
    return " | ".join(f'"{value}"' for value in values)


def test_the_typescript_clients_records_are_those_of_the_contract() -> None:
    assert RECORDS.read_text(encoding="utf-8") == records_text(), __doc__


if __name__ == "__main__":
    RECORDS.write_text(records_text(), encoding="utf-8")
