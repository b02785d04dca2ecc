"""One table says what a code means; the code that raises it does not say otherwise."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from divisi.contract import errors
from divisi.contract.errors import KINDS, DivisiError, Fault, Kind, ModelError, UnavailableError, class_of, status_of

PACKAGE = Path(errors.__file__).parents[1]
CLASSES = {kind.__name__: kind for kind in (DivisiError, *DivisiError.__subclasses__())}


def raised_codes() -> dict[str, set[type[DivisiError]]]:
    """Every code that the package's sources give to an error, with the classes that it is raised as."""
    found = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in CLASSES:
                continue
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    found[keyword.value.value].add(CLASSES[node.func.id])
    return found


def answered_codes() -> set[str]:
    """Every code that the package's sources write into a problem without raising an error."""
    return {
        node.args[0].value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Problem", "problem_of")
        if node.args and isinstance(node.args[0], ast.Constant)
    }


def fault_of(error: type[DivisiError]) -> Fault:
    return "service" if issubclass(error, (ModelError, UnavailableError)) else "caller"


def test_every_code_that_is_raised_is_in_the_table_and_never_the_other_sides_fault() -> None:
    raised = raised_codes()
    assert len(raised) > 80
    assert sorted(set(raised) - set(KINDS) - {None}) == []
    for code in set(raised) - {None}:
        assert {fault_of(error) for error in raised[code]} == {KINDS[code].fault}, code


def test_every_code_that_is_answered_is_in_the_table() -> None:
    assert {"not-ready", "internal-error", "worker-lost"} <= answered_codes() <= set(KINDS)


@pytest.mark.parametrize("code", KINDS)
def test_a_client_gets_the_class_back_that_the_service_raised(code: str) -> None:
    error = KINDS[code].error("x", code=code)
    back = class_of(code, status_of(error))
    assert fault_of(back) == KINDS[code].fault
    assert KINDS[code].advice.endswith(".")


def test_an_answer_of_another_server_has_the_class_of_its_status() -> None:
    assert class_of(None, 404) is errors.NotFoundError
    assert class_of("of-tomorrow", 422) is errors.InputError
    assert class_of("of-tomorrow", 418) is errors.InputError
    assert class_of(None, 502) is UnavailableError
    assert class_of("unknown-model", 404) is errors.NotFoundError


def test_a_source_that_does_not_match_is_the_callers_fault() -> None:
    assert KINDS["reference-mismatch"].fault == "caller"
    assert Kind(ModelError).fault == "service"
