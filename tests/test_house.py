"""The house stays small: no file, function or room of the serving code grows beyond what one person reads at once."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SERVICE = Path(__file__).resolve().parents[1] / "service"
FILES = {path.relative_to(SERVICE): path.read_text(encoding="utf-8") for path in (SERVICE / "divisi").rglob("*.py")}
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
MOST_PARAMETERS = 6
MOST_FILES_OF_A_ROOM = 16
# An option is declared in the contract; whoever else names it repeats it.
MOST_FILES_THAT_NAME_AN_OPTION = 5


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno} {node.name}", node


def num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without `self` and `cls`."""
    given = function.args
    named = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    bound = named[:1] in (["self"], ["cls"])
    return len(named) - bound + (given.vararg is not None) + (given.kwarg is not None)


def test_no_file_is_too_long() -> None:
    lines = {str(path): text.count("\n") for path, text in FILES.items()}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    lines = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {name: count for name, count in lines.items() if count > MOST_FUNCTION_LINES} == {}


def test_no_function_has_too_many_parameters() -> None:
    counts = {name: num_parameters(node) for name, node in functions()}
    assert {name: count for name, count in counts.items() if count > MOST_PARAMETERS} == {}


def test_no_room_has_too_many_files() -> None:
    rooms = Counter(str(path.parent) for path in FILES)
    assert {room: count for room, count in rooms.items() if count > MOST_FILES_OF_A_ROOM} == {}


def test_an_option_is_named_in_few_files() -> None:
    paths = (path for path in SERVICE.rglob("*") if path.suffix in {".py", ".js", ".json", ".html", ".yaml", ".lua"})
    naming = [path for path in paths if re.search(r"\bstem_format\b", path.read_text(encoding="utf-8"))]
    assert 0 < len(naming) <= MOST_FILES_THAT_NAME_AN_OPTION, naming
