"""Which parameters a query may have: those of the operation, each once unless it can be repeated.

A misspelt parameter would take its default in silence, on a read as on a submit. What an operation takes stands in the
OpenAPI document.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from divisi.access.caller import READING_METHODS, is_linkable
from divisi.access.signed_links import EXPIRES, SIGNATURE


async def refuse_unknown_names(request: Request) -> None:
    """Lets the request pass, or refuses it with a pointer to each parameter that it cannot have.

    Raises:
        RequestValidationError: unknown, or given twice.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if not given:
        return
    template, method = request.scope["route"].path, request.method
    operation = request.app.openapi()["paths"].get(template, {}).get(method.lower(), {})
    is_list = {
        parameter["name"]: parameter["schema"].get("type") == "array"
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    if method in READING_METHODS and is_linkable(template):
        is_list |= {EXPIRES: False, SIGNATURE: False}
    problems = []
    for name in dict.fromkeys(given):
        if name not in is_list:
            message = f"there is no such parameter; there are: {', '.join(is_list) or 'none'}"
            problems.append({"loc": ("query", name), "msg": message, "type": "extra_forbidden"})
        elif given.count(name) > 1 and not is_list[name]:
            problems.append({"loc": ("query", name), "msg": "give this parameter once", "type": "repeated"})
    if problems:
        raise RequestValidationError(problems)
