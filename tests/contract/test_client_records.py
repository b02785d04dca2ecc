"""`divisi.client.records` has the answers as the contract has them.

`python -m tests.contract.test_client_records` writes it anew, from the root of the checkout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from divisi.contract.answers import ComparisonBody, JobListBody, Since, TrackSetBody
from divisi.contract.rehearsal import Rehearsal

RECORDS = Path(__file__).resolve().parents[2] / "service" / "divisi" / "client" / "records.py"
ROOTS = (JobListBody, ComparisonBody, Rehearsal, TrackSetBody)
NAMES = {
    "TrackImageBody": "Track",
    "TrackBody": "LearningTrack",
    "TrackSetBody": "LearningTracks",
    "StemConfidence": "Confidence",
    "JobListBody": "JobPage",
}
HEAD = '''"""What the server answers, as dictionaries whose keys are known to type checkers.

Made of `divisi.contract.answers` by `python -m tests.contract.test_client_records`: change that, not this.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''


def records_text() -> str:
    models: dict[type, None] = {}
    for root in ROOTS:
        gather(root, models)
    states = sorted(
        {one for model in models for field in fields_of(model).values() for one in enums_in(field)}, key=str
    )
    aliases = [f"{state.__name__} = {literal_text(state)}" for state in states]
    return "\n\n\n".join([HEAD + "\n" + "\n".join(aliases), *map(class_text, models)]) + "\n"


def fields_of(model: type) -> dict[str, FieldInfo]:
    if issubclass(model, BaseModel):
        return dict(model.model_fields)
    return {name: FieldInfo.from_annotation(hint) for name, hint in get_type_hints(model, include_extras=True).items()}


def gather(model: type, models: dict[type, None]) -> None:
    """The model after all that it is made of."""
    for field in fields_of(model).values():
        for one in parts_of(field.annotation):
            if isinstance(one, type) and (issubclass(one, BaseModel) or is_dataclass(one)):
                gather(one, models)
    models[model] = None


def enums_in(field: FieldInfo) -> list[type[StrEnum]]:
    return [one for one in parts_of(field.annotation) if isinstance(one, type) and issubclass(one, StrEnum)]


def parts_of(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from parts_of(part)


def class_text(model: type) -> str:
    lines = [f"class {name_of(model)}(TypedDict):", f'    """{model.__doc__}"""', ""]
    for name, field in fields_of(model).items():
        text = type_text(field.annotation)
        is_newer = any(isinstance(one, Since) for one in field.metadata)
        lines.append(f"    {name}: NotRequired[{text}]" if is_newer else f"    {name}: {text}")
    return "\n".join(lines)


def type_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, arguments))
    if origin is Literal:
        return literal_text(arguments)
    if origin is tuple:  # as long as it may be
        return f"list[{type_text(arguments[0])}]"
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(map(type_text, arguments))}]"
    named = {datetime: "str", NoneType: "None", Any: "Any"}
    return named.get(annotation) or name_of(annotation)


def literal_text(values: Iterable[str]) -> str:
    return "Literal[" + ", ".join(f'"{one}"' for one in values) + "]"


def name_of(kind: type) -> str:
    return NAMES.get(kind.__name__, kind.__name__.removesuffix("Body"))


def test_the_clients_records_are_those_of_the_contract() -> None:
    assert RECORDS.read_text(encoding="utf-8") == records_text(), __doc__


if __name__ == "__main__":
    RECORDS.write_text(records_text(), encoding="utf-8")
