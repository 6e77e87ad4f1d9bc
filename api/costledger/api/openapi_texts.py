"""What the OpenAPI document says of every text that comes in: no NUL in it (`middleware.bodies` refuses it)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

NO_NUL_PATTERN: Final = r"^[^\u0000]*$"
#: A text with one of these says more narrowly what it is; none of them admits NUL.
_NARROWER: Final = frozenset({"pattern", "format", "enum", "const"})
_REFERENCE: Final = "$ref"
_SCHEMAS: Final = "#/components/schemas/"


def refuse_nul(document: dict[str, Any]) -> None:
    """Have every text of a parameter, a body or a name in one say its pattern; changes the document."""
    for schema in _input_schemas(document):
        if schema.get("type") == "string" and not _NARROWER & schema.keys():
            schema["pattern"] = NO_NUL_PATTERN
        names = schema.get("propertyNames")
        if isinstance(names, dict) and not _NARROWER & names.keys():
            names["pattern"] = NO_NUL_PATTERN


def _input_schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object of the document that is about what comes in, each once; references are followed."""
    schemas = document["components"]["schemas"]
    operations = [one for methods in document["paths"].values() for one in methods.values() if isinstance(one, dict)]
    waiting: list[Any] = [one[part] for one in operations for part in ("parameters", "requestBody") if part in one]
    followed: set[str] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            yield part
            waiting += [value for key, value in part.items() if key != _REFERENCE]
            name = part.get(_REFERENCE)
            if isinstance(name, str) and name not in followed:
                followed.add(name)
                waiting.append(schemas[name.removeprefix(_SCHEMAS)])
